"""Brings the weights that plans take as inputs to the GPU, once for all of them.

Knows no layer: names in, addresses out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from molmo_engine.bundle import BundleError
from molmo_engine.trt_device import ALIGNMENT, Device

PIECE = 1 << 26  # bytes on their way at once: what is read from the disk stays in memory so long


def upload_weights(
    device: Device, tensors: Mapping[str, npt.NDArray[Any]], names: Iterable[str]
) -> dict[str, int]:
    """Copies tensors of a mapped file into one allocation; returns the address of each."""
    names = sorted(set(names))
    if missing := [name for name in names if name not in tensors]:
        raise BundleError(
            f"the plan takes {missing[0]} and {len(missing) - 1} more inputs that are neither the "
            "graph's nor stored weights. Build it again: molmo build BUNDLE"
        )
    if not names:
        return {}
    offsets = place([tensors[name].nbytes for name in names])
    start = device.allocate(offsets[-1])
    for name, offset in zip(names, offsets, strict=False):
        _upload(device, start + offset, tensors[name])
    return {name: start + offset for name, offset in zip(names, offsets, strict=False)}


def place(sizes: Iterable[int]) -> list[int]:
    """Aligned offsets of things that lie one behind the other, and the end of the last."""
    offsets = [0]
    for size in sizes:
        offsets.append(-(-(offsets[-1] + size) // ALIGNMENT) * ALIGNMENT)
    return offsets


def _upload(device: Device, address: int, tensor: npt.NDArray[Any]) -> None:
    content = tensor.reshape(-1).view(np.uint8)
    for begin in range(0, len(content), PIECE):
        device.upload(address + begin, np.ascontiguousarray(content[begin : begin + PIECE]))
        device.synchronize()
