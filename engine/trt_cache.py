"""The decoder's cache on a GPU: keys and values of all layers, which never move.

G key/value heads, S cache rows (capacity), K head width
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from molmo_engine.bundle import GraphSpec
from molmo_engine.trt_device import Device
from molmo_engine.trt_memory import is_cache
from molmo_engine.trt_numbers import numpy_type
from molmo_engine.trt_weights import place

Array = npt.NDArray[Any]


class Cache:
    """Memory of the caches of a decoder graph, each (1, G, S, K), cleared."""

    def __init__(self, device: Device, decoder: GraphSpec) -> None:
        specs = [spec for spec in decoder.inputs if is_cache(spec.name)]
        _, self._heads, capacity, self._width = (int(size) for size in specs[0].shape)
        self._device, self._dtype = device, numpy_type(specs[0].dtype)
        self._pitch = capacity * self._width * self._dtype.itemsize  # bytes of one head
        offsets = place([self._heads * self._pitch] * len(specs))
        self._start, self._size = device.allocate(offsets[-1]), offsets[-1]
        self._addresses = {
            spec.name: self._start + offset for spec, offset in zip(specs, offsets, strict=False)
        }
        self.clear()

    @property
    def addresses(self) -> dict[str, int]:
        """Of inputs and outputs: what is written stands where it was read from."""
        return self._addresses | {f"new_{name}": at for name, at in self._addresses.items()}

    def clear(self) -> None:
        """Masked rows weigh 0, but 0 times an overflow of the last answer would be NaN."""
        self._device.clear(self._start, self._size)

    def save(self, length: int) -> Array:
        """A copy of the first rows on the host: (caches, G, length, K)."""
        shape = (len(self._addresses), self._heads, length, self._width)
        saved = np.empty(shape, self._dtype)
        for address, rows in zip(self._addresses.values(), saved, strict=True):
            self._device.download(rows, address, self._pitch)
        self._device.synchronize()
        return saved

    def restore(self, saved: Array) -> None:
        """Puts back what `save` returned, which stays as it is until the device is waited for."""
        for address, rows in zip(self._addresses.values(), saved, strict=True):
            self._device.upload(address, rows, self._pitch)
