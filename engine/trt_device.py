"""Memory, streams and graphs of an NVIDIA GPU, through cuda-bindings alone.

Everything runs on one stream in the order it was asked for; only `synchronize` waits. Knows no
TensorRT and no model: addresses and arrays in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

Array = npt.NDArray[Any]
Graph = Any  # recorded work
ALIGNMENT = 256  # bytes, of what TensorRT is given


class DeviceError(RuntimeError):
    """The GPU, its driver or cuda-bindings is missing or refuses."""


class DeviceMemoryError(DeviceError):
    """The GPU has not that much memory left."""


@dataclass(frozen=True)
class Gpu:
    """What kind of GPU this is, and what it has left."""

    name: str
    architecture: str  # "SM87"
    free: int  # bytes
    total: int  # bytes; on a Jetson they are the computer's own memory


class Device(Protocol):
    """What running plans takes of a GPU; a double of it has host memory."""

    gpu: Gpu
    stream: int  # the handle of the one stream

    def allocate(self, size: int) -> int:
        """Memory of `size` bytes, aligned; raises DeviceMemoryError."""

    def free(self, address: int) -> None:
        """Gives back what `allocate` gave."""

    def clear(self, address: int, size: int) -> None:
        """Writes zeros."""

    def upload(self, address: int, array: Array, pitch: int = 0) -> None:
        """Copies to the GPU; the array stays as it is until `synchronize`.

        pitch: bytes from one array[i] to the next on the GPU; 0 = one behind the other
        """

    def download(self, array: Array, address: int, pitch: int = 0) -> None:
        """Copies from the GPU; the array holds it after `synchronize`."""

    def synchronize(self) -> None:
        """Waits until everything asked for is done."""

    def record(self, work: Callable[[], None]) -> Graph:
        """Records what `work` puts on the stream, which does not run it."""

    def launch(self, graph: Graph) -> None:
        """Runs recorded work."""

    def close(self) -> None:
        """Frees the stream, graphs and whatever memory is left."""


def find_gpu() -> Gpu:
    """The first NVIDIA GPU; raises DeviceError with the reason where none can be used."""
    cuda = _cuda()
    if not _check(cuda, cuda.cudaGetDeviceCount()):
        raise DeviceError("no NVIDIA GPU is there")
    found = _check(cuda, cuda.cudaGetDeviceProperties(0))
    free, total = _check(cuda, cuda.cudaMemGetInfo())
    if found.integrated:  # a Jetson: CUDA does not count what Linux would give back
        free = available_bytes()
    return Gpu(found.name.decode(), f"SM{found.major}{found.minor}", free, total)


def available_bytes() -> int:
    """What the computer's own memory has left for programs."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise DeviceError("/proc/meminfo: has no MemAvailable; this needs Linux")


class CudaDevice:
    """The first NVIDIA GPU. Implements `Device`."""

    def __init__(self) -> None:
        self.gpu = find_gpu()
        self._cuda = _cuda()
        # Not the default stream, on which nothing can be recorded.
        flags = self._cuda.cudaStreamNonBlocking
        self._stream = self._call("cudaStreamCreateWithFlags", flags)
        self.stream = int(self._stream)
        self._allocated: set[int] = set()
        self._graphs: list[Any] = []

    def allocate(self, size: int) -> int:
        address = int(self._call("cudaMalloc", size))
        assert address % ALIGNMENT == 0, address
        self._allocated.add(address)
        return address

    def free(self, address: int) -> None:
        self._allocated.remove(address)
        self._call("cudaFree", address)

    def clear(self, address: int, size: int) -> None:
        self._call("cudaMemsetAsync", address, 0, size, self._stream)

    def upload(self, address: int, array: Array, pitch: int = 0) -> None:
        width = _width(array, pitch)
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._copy((address, pitch), (array.ctypes.data, width), (width, array.nbytes), kind)

    def download(self, array: Array, address: int, pitch: int = 0) -> None:
        width = _width(array, pitch)
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._copy((array.ctypes.data, width), (address, pitch), (width, array.nbytes), kind)

    def synchronize(self) -> None:
        self._call("cudaStreamSynchronize", self._stream)

    def record(self, work: Callable[[], None]) -> Graph:
        # Other threads may go on using the GPU meanwhile.
        mode = self._cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", self._stream, mode)
        try:
            work()
        finally:
            graph = self._call("cudaStreamEndCapture", self._stream)
        executable = self._call("cudaGraphInstantiate", graph, 0)
        self._call("cudaGraphDestroy", graph)
        self._graphs.append(executable)
        return executable

    def launch(self, graph: Graph) -> None:
        self._call("cudaGraphLaunch", graph, self._stream)

    def close(self) -> None:
        for graph in self._graphs:
            self._call("cudaGraphExecDestroy", graph)
        for address in [*self._allocated]:
            self.free(address)
        self._call("cudaStreamDestroy", self._stream)
        self._graphs = []

    def _copy(
        self, target: tuple[int, int], source: tuple[int, int], sizes: tuple[int, int], kind: Any
    ) -> None:
        """Copies rows: addresses with their pitches, bytes of a row and of all."""
        width, size = sizes
        if width == size:  # one row, which may be longer than a pitch can be
            self._call("cudaMemcpyAsync", target[0], source[0], size, kind, self._stream)
        else:
            rows = (width, size // width)
            self._call("cudaMemcpy2DAsync", *target, *source, *rows, kind, self._stream)

    def _call(self, function: str, *arguments: Any) -> Any:
        return _check(self._cuda, getattr(self._cuda, function)(*arguments), function)


def _width(array: Array, pitch: int) -> int:
    """Bytes that are copied at once: a row where there is a pitch, otherwise everything."""
    assert array.flags.c_contiguous, array.strides
    return array.nbytes // len(array) if pitch else array.nbytes


def _cuda() -> Any:
    """The CUDA runtime API, which needs a driver and no toolkit."""
    try:
        from cuda.bindings import runtime
    except ImportError:
        try:
            from cuda import cudart as runtime  # cuda-python before 12.6
        except ImportError as error:
            raise DeviceError("cuda-bindings is not there: pip install cuda-bindings") from error
    return runtime


def _check(cuda: Any, result: tuple[Any, ...], function: str = "asking for GPUs") -> Any:
    """What a call returned behind its status; raises where that is an error."""
    status, *values = result
    if status != cuda.cudaError_t.cudaSuccess:
        words = cuda.cudaGetErrorString(status)[1].decode()
        kind = DeviceMemoryError if status.name == "cudaErrorMemoryAllocation" else DeviceError
        raise kind(f"{function}: {words} ({status.name})")
    return values[0] if len(values) == 1 else tuple(values)
