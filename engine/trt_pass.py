"""Runs one engine: its contexts, the buffers bound to them, its recorded steps.

A context keeps one profile for life, and one shape where its work is recorded: a recorded graph
stays valid for as long as neither changes. All contexts share one scratch memory, for they run
one after the other. Knows no Molmo: names and shapes come from the graph's spec.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from molmo_engine.bundle import GraphSpec, TensorSpec
from molmo_engine.trt_api import Engine, Library, TensorRtError
from molmo_engine.trt_device import Device
from molmo_engine.trt_numbers import numpy_type

Array = npt.NDArray[Any]
SMALLEST, EXPECTED, LARGEST = range(3)  # sizes of a profile


class Part:
    """An engine and what is bound to it whatever runs: weights, caches, scratch memory."""

    def __init__(self, library: Library, device: Device, engine: Engine, spec: GraphSpec) -> None:
        self.library, self.device, self.engine, self.spec = library, device, engine, spec
        self._names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        self._bound: dict[str, int] = {}
        self._scratch = (0, 0)

    @property
    def weights(self) -> list[str]:
        """What the engine wants beyond the inputs of its graph."""
        known = {spec.name for spec in (*self.spec.inputs, *self.spec.outputs)}
        return [name for name in self._names if name not in known]

    @property
    def scratch(self) -> int:
        """Bytes of scratch memory that a run takes."""
        return int(self.engine.device_memory_size_v2)

    def bind(self, addresses: Mapping[str, int], scratch: tuple[int, int]) -> None:
        """Keeps the addresses of what all parts share, and of scratch memory with its size."""
        self._bound = {name: at for name, at in addresses.items() if name in self._names}
        self._scratch = scratch

    def sizes(self, profile: int, which: int) -> dict[str, int]:
        """A profile's dynamic dimensions by name: the smallest, expected or largest."""
        found: dict[str, int] = {}
        for spec in self.spec.inputs:
            if any(isinstance(size, str) for size in spec.shape):
                shape = self.engine.get_tensor_profile_shape(spec.name, profile)[which]
                found |= {
                    word: int(size)
                    for word, size in zip(spec.shape, shape, strict=True)
                    if isinstance(word, str)
                }
        return found

    def buffers(self, profile: int) -> dict[str, int]:
        """New memory for what changes from run to run, as large as a profile can need."""
        largest = self.sizes(profile, LARGEST)
        return {
            spec.name: self.device.allocate(_nbytes(spec, largest))
            for spec in (*self.spec.inputs, *self.spec.outputs)
            if spec.name not in self._bound
        }

    def open(self, profile: int, buffers: Mapping[str, int]) -> Pass:
        """A context of a profile with everything bound."""
        context = self.library.create_context(self.engine)
        context.set_device_memory(*self._scratch)
        self.check(context.set_optimization_profile_async(profile, self.device.stream), "profile")
        for name, address in {**self._bound, **buffers}.items():
            self.check(context.set_tensor_address(name, address), f"address of {name}")
        return Pass(self, context, buffers)

    def check(self, is_agreed: bool, what: str) -> None:
        """Raises TensorRtError unless TensorRT agreed."""
        if not is_agreed:
            raise TensorRtError(
                f"{self.library.builder} refuses the {what} of the {self.spec.part} plan: "
                + self.library.last_words()
            )


class Pass:
    """One context of a part."""

    def __init__(self, part: Part, context: Any, buffers: Mapping[str, int]) -> None:
        self._part, self._context, self._buffers = part, context, buffers
        self._graph: Any = None
        self._held: tuple[Array, ...] = ()

    def resize(self, **sizes: int) -> None:
        """Sets the dynamic dimensions."""
        assert self._graph is None, "recorded work has one shape"
        for spec in self._part.spec.inputs:
            if any(isinstance(size, str) for size in spec.shape):
                shape = _shape(spec, sizes)
                agreed = self._context.set_input_shape(spec.name, shape)
                self._part.check(agreed, f"shape {shape} of {spec.name}")

    def run(self, **inputs: Array) -> None:
        """Uploads inputs, which keep their last values otherwise, and computes."""
        self._held = tuple(np.ascontiguousarray(array) for array in inputs.values())
        for name, array in zip(inputs, self._held, strict=True):
            self._part.device.upload(self._buffers[name], array)
        if self._graph is None:
            self._enqueue()
        else:
            self._part.device.launch(self._graph)

    def read(self, name: str, array: Array) -> None:
        """Downloads an output; the array holds it after the device was synchronised."""
        self._part.device.download(array, self._buffers[name])

    def record(self) -> None:
        """Makes what was run before one graph, which costs a single launch from now on."""
        self._graph = self._part.device.record(self._enqueue)

    def _enqueue(self) -> None:
        done = self._context.execute_async_v3(self._part.device.stream)
        self._part.check(done, "run")


def _shape(spec: TensorSpec, sizes: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(sizes[size] if isinstance(size, str) else size for size in spec.shape)


def _nbytes(spec: TensorSpec, sizes: Mapping[str, int]) -> int:
    return int(np.prod(_shape(spec, sizes))) * numpy_type(spec.dtype).itemsize
