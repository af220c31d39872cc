"""A double of TensorRT and of a GPU: runs plans through ONNX Runtime on host memory.

It has the methods of TensorRT's engine and context that our runtime calls, and refuses what they
refuse: sizes outside the profile, tensors without an address, a cache that is not updated in
place, recording what never ran. What would be a crash or nonsense on a GPU fails an assertion
here: addresses that are nobody's memory, misaligned ones, waiting while recording. Work runs when
the device is waited for, as late as a GPU might. It says nothing of TensorRT's numbers or speed.
"""

from __future__ import annotations

import ctypes
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

from molmo_engine.build import profiles
from molmo_engine.build_inputs import weights_as_inputs
from molmo_engine.build_staging import staged, take_in
from molmo_engine.bundle import Bundle, GraphSpec, Plan
from molmo_engine.trt_device import ALIGNMENT, DeviceError, DeviceMemoryError, Gpu

BUILDER, ARCHITECTURE = "double 1.0", "SM00"
SCRATCH = 4096
NUMPY = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(int64)": np.int64}


def add_double_plans(directory: Path, weights: str, dialect: str = "native", **largest: int):
    """Enters plans for the double into a bundle; `largest` cuts dimensions of their profiles."""
    bundle = Bundle.open(directory)
    plans = []
    with staged(directory) as staging:
        for graph in (one for one in bundle.manifest.graphs if one.dialect == dialect):
            content = {
                "onnx": str(bundle.path(graph.file)),
                "is_embedded": weights == "embedded",
                "profiles": [_shapes(graph, one, largest) for one in profiles(bundle, graph)],
            }
            (staging / f"{graph.part}.plan").write_text(json.dumps(content))
            plan = Plan(
                file=f"plans/{ARCHITECTURE}/{graph.part}.plan",
                part=graph.part,
                dialect=dialect,
                builder=BUILDER,
                architecture=ARCHITECTURE,
                weights=weights,
            )
            plans.append(plan)
        take_in(directory, staging, plans)
    return Bundle.open(directory)


def _shapes(graph: GraphSpec, ranges: dict, largest: dict[str, int]) -> dict[str, list]:
    """Smallest, expected and largest shape of every input."""

    def size(word: int | str, which: int) -> int:
        if isinstance(word, int):
            return word
        return min(ranges[word][which], largest.get(word, ranges[word][which]))

    return {
        spec.name: [[size(word, which) for word in spec.shape] for which in range(3)]
        for spec in graph.inputs
    }


@dataclass
class Recorded:
    """A graph: work, and how often it was launched."""

    work: list
    launches: int = 0


class HostDevice:
    """Host memory in the place of a GPU's. Implements `trt_device.Device`."""

    stream = 77

    def __init__(self, size: int = 1 << 33) -> None:
        self.gpu = Gpu("double", ARCHITECTURE, size, size)
        self.memory: dict[int, np.ndarray] = {}
        self.queue: list = []
        self.recording: list | None = None
        self.graphs: list[Recorded] = []
        self.is_open = True

    @property
    def used(self) -> int:
        return sum(len(block) for block in self.memory.values())

    def allocate(self, size: int) -> int:
        self._check_idle()
        if self.used + size > self.gpu.total:
            raise DeviceMemoryError(f"double: {size} bytes are too many")
        whole = np.full(size + ALIGNMENT, 255, np.uint8)  # NaN in every float type
        start = -whole.ctypes.data % ALIGNMENT
        block = whole[start : start + size]
        self.memory[block.ctypes.data] = block
        return block.ctypes.data

    def free(self, address: int) -> None:
        del self.memory[address]

    def find(self, address: int, size: int) -> int:
        """The address, if that many bytes behind it are ours."""
        inside = any(
            start <= address and address + size <= start + len(block)
            for start, block in self.memory.items()
        )
        assert inside, f"{size} bytes at {address:#x} are not this device's memory"
        return address

    def clear(self, address: int, size: int) -> None:
        self.put(lambda: ctypes.memset(self.find(address, size), 0, size))

    def upload(self, address: int, array: np.ndarray, pitch: int = 0) -> None:
        self._copy(address, array, pitch, is_upload=True)

    def download(self, array: np.ndarray, address: int, pitch: int = 0) -> None:
        self._copy(address, array, pitch, is_upload=False)

    def synchronize(self) -> None:
        self._check_idle()
        work, self.queue = self.queue, []
        for one in work:
            one()

    def record(self, work) -> Recorded:
        self._check_idle()
        self.recording = []
        try:
            work()
            self.graphs.append(Recorded(self.recording))
        finally:
            self.recording = None
        return self.graphs[-1]

    def launch(self, graph: Recorded) -> None:
        graph.launches += 1
        for one in graph.work:
            self.put(one)

    def close(self) -> None:
        assert self.is_open, "closed twice"
        self.is_open = False
        for kept in (self.memory, self.graphs, self.queue):
            kept.clear()

    def put(self, work) -> None:
        (self.queue if self.recording is None else self.recording).append(work)

    def _check_idle(self) -> None:
        assert self.is_open, "the device is closed"
        if self.recording is not None:
            raise DeviceError("double: operation not permitted when stream is capturing")

    def _copy(self, address: int, array: np.ndarray, pitch: int, is_upload: bool) -> None:
        assert array.flags.c_contiguous
        assert self.recording is None, "pageable memory cannot be copied in a graph"
        rows = len(array) if pitch else 1
        width = array.nbytes // rows

        def copy() -> None:
            for row in range(rows):
                here = self.find(address + row * pitch, width)
                there = array.ctypes.data + row * width
                ctypes.memmove(*((here, there) if is_upload else (there, here)), width)

        self.put(copy)


class DoubleLibrary:
    """Reads plans that `add_double_plans` wrote. Implements `trt_api.Library`."""

    builder = BUILDER

    def __init__(self, device: HostDevice, records_graphs: bool = True) -> None:
        self.device, self.records_graphs = device, records_graphs
        self.errors: list[str] = []
        self.contexts: list[DoubleContext] = []

    def read(self, plan: Path) -> DoubleEngine:
        return DoubleEngine(**json.loads(plan.read_text()))

    def create_context(self, engine: DoubleEngine) -> DoubleContext:
        self.contexts.append(DoubleContext(engine, self))
        return self.contexts[-1]

    def last_words(self) -> str:
        return "; ".join(self.errors[-3:])


class DoubleEngine:
    """What TensorRT calls ICudaEngine."""

    device_memory_size_v2 = SCRATCH

    def __init__(self, onnx: str, is_embedded: bool, profiles: list) -> None:
        self._profiles = profiles
        self._ort, self._names, self._caches = _session(Path(onnx), is_embedded)

    @property
    def num_io_tensors(self) -> int:
        return len(self._names)

    @property
    def num_optimization_profiles(self) -> int:
        return len(self._profiles)

    def get_tensor_name(self, index: int) -> str:
        return list(self._names)[index]

    def get_tensor_profile_shape(self, name: str, profile: int) -> list:
        return self._profiles[profile][name]


@dataclass(eq=False)
class DoubleContext:
    """What TensorRT calls IExecutionContext, made without memory of its own."""

    engine: DoubleEngine
    _library: DoubleLibrary
    _scratch: int = 0
    _profile: int | None = None
    _shapes: dict = field(default_factory=dict)
    _addresses: dict = field(default_factory=dict)
    _ran: dict = field(default_factory=dict)  # the shapes of the last run

    def set_device_memory(self, memory: int, size: int) -> None:
        assert size >= self.engine.device_memory_size_v2
        self._scratch = self._library.device.find(memory, size)

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        if not 0 <= profile < self.engine.num_optimization_profiles:
            return self._refuse(f"profile {profile}: there is none")
        self._profile, self._shapes = profile, {}
        return stream == self._library.device.stream

    def set_input_shape(self, name: str, shape: tuple) -> bool:
        smallest, _, largest = self.engine.get_tensor_profile_shape(name, self._profile)
        fits = len(shape) == len(smallest) and all(
            low <= size <= high for low, size, high in zip(smallest, shape, largest, strict=True)
        )
        if not fits:
            return self._refuse(f"{name} {shape}: profile {self._profile} ends at {largest}")
        self._shapes[name] = shape
        return True

    def set_tensor_address(self, name: str, memory: int) -> bool:
        assert memory % ALIGNMENT == 0, (name, memory)
        self._addresses[name] = memory
        return name in self.engine._names or self._refuse(f"{name}: there is no such tensor")

    def execute_async_v3(self, stream_handle: int) -> bool:
        device, engine = self._library.device, self.engine
        assert stream_handle == device.stream
        assert self._scratch, "no scratch memory"
        if missing := engine._names.keys() - self._addresses.keys():
            return self._refuse(f"{sorted(missing)[0]}: has no address")
        for read, written in engine._caches.items():
            if self._addresses[read] != self._addresses[written]:
                return self._refuse(f"{written}: is not where {read} is")
        words = {v.name: v.shape for v in engine._ort.get_inputs()}
        dynamic = {n for n, shape in words.items() if any(isinstance(s, str) for s in shape)}
        if missing := dynamic - self._shapes.keys():
            return self._refuse(f"{sorted(missing)[0]}: has no shape")
        if device.recording is not None and self._ran != self._shapes:
            return self._refuse("recording what never ran in these shapes")
        self._ran = dict(self._shapes)
        addresses, shapes = dict(self._addresses), dict(self._shapes)
        device.put(lambda: self._run(addresses, shapes))
        return True

    def _run(self, addresses: dict, shapes: dict) -> None:
        session, find = self.engine._ort, self._library.device.find
        find(self._scratch, SCRATCH)
        binding = session.io_binding()
        sizes = {}
        for value in session.get_inputs():
            shape = shapes.get(value.name, value.shape)
            sizes |= {w: s for w, s in zip(value.shape, shape, strict=True) if isinstance(w, str)}
            place = _place(value, shape, addresses, find)
            binding.bind_input(value.name, "cpu", 0, *place)
        for value in session.get_outputs():
            shape = [sizes.get(size, size) for size in value.shape]
            binding.bind_output(value.name, "cpu", 0, *_place(value, shape, addresses, find))
        session.run_with_iobinding(binding)

    def _refuse(self, reason: str) -> bool:
        self._library.errors.append(reason)
        return False


def _place(value, shape, addresses: dict, find) -> tuple:
    """What ONNX Runtime binds: type, shape, address of living memory."""
    dtype = np.dtype(NUMPY[value.type])
    size = int(np.prod(shape)) * dtype.itemsize
    return dtype, list(shape), find(addresses[value.name], size)


def _session(path: Path, is_embedded: bool):
    """A session, its inputs and outputs, and which outputs update which inputs in place."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    source = str(path) if is_embedded else weights_as_inputs(path.read_bytes())
    session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    names = {value.name: value for value in (*session.get_inputs(), *session.get_outputs())}
    nodes = onnx.load(path, load_external_data=False).graph.node
    updates = [n for n in nodes if n.op_type in ("TensorScatter", "ScatterND")]
    caches = {node.input[0]: node.output[0] for node in updates if node.input[0] in names}
    return session, names, caches
