"""TensorRT, and everything in which its versions differ: the one file that imports it.

`tensorrt` (10.3 of JetPack 6.2 to 11.x) compiles on the machine that runs the plan;
`tensorrt_rtx` (1.7) compiles for any RTX GPU, without one too, and runs there. Each guard names
the versions it is for. What is not guarded is the same in all. Knows no bundle and no model.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, Protocol

LIBRARIES = ("tensorrt", "tensorrt_rtx")  # in the order in which they are preferred
NATIVE_SINCE = (10, 15)  # of `tensorrt`: RMSNormalization, RotaryEmbedding, TensorScatter

Engine = Any  # ICudaEngine
Context = Any  # IExecutionContext


class TensorRtError(RuntimeError):
    """TensorRT is missing or refuses; the message has its words."""


class Library(Protocol):
    """What running a plan takes of a TensorRT; a double of it runs without a GPU."""

    builder: str  # "tensorrt 10.16.1.11": a plan runs on the version that built it
    records_graphs: bool  # whether steps are to be recorded as CUDA graphs by who runs them

    def read(self, plan: Path) -> Engine:
        """Makes a plan ready; raises TensorRtError."""

    def create_context(self, engine: Engine) -> Context:
        """Something that runs an engine in scratch memory that it is given."""

    def last_words(self) -> str:
        """The newest errors that the library logged."""


class TensorRt:
    """An installed TensorRT. Implements `Library`; compiling uses its `module` as well."""

    def __init__(self, name: str) -> None:
        """name: one of LIBRARIES. Raises TensorRtError where it is missing."""
        try:
            self.module: Any = import_module(name)
        except ImportError as error:
            hint = "JetPack brings it" if name == "tensorrt" else "pip install tensorrt_rtx"
            raise TensorRtError(f"{name} is not there ({error}): {hint}") from error
        self.name = name
        self.version: str = self.module.__version__
        self.builder = f"{name} {self.version}"
        self.log = _log(self.module)
        # tensorrt_rtx records by itself, see create_context; tensorrt leaves it to its users.
        self.records_graphs = name == "tensorrt"
        self._runtime: Any = None

    @property
    def dialect(self) -> str:
        """The newest dialect that its ONNX parser reads."""
        if self.name == "tensorrt_rtx":  # 1.7 reads all; nothing older is supported
            return "native"
        version = tuple(int(part) for part in self.version.split(".")[:2])
        return "native" if version >= NATIVE_SINCE else "compat"

    def targets(self) -> list[str]:
        """The architectures that it compiles for; none = that of the GPU in this machine."""
        if self.name == "tensorrt":  # knows no compute capabilities, it measures on the GPU
            return []
        members = self.module.ComputeCapability.__members__
        return [name for name in members if name.startswith("SM")]

    def set_target(self, config: Any, architecture: str) -> None:
        """Compiles for an architecture of `targets`, or for this machine."""
        if architecture in self.targets():
            config.num_compute_capabilities = 1
            known = self.module.ComputeCapability.__members__
            config.set_compute_capability(known[architecture], 0)

    def watch(self, config: Any, report: Callable[[float], bool]) -> None:
        """Tells `report` the share that is done, until it returns False: then compiling ends."""
        config.progress_monitor = _monitor(self.module, report)

    def compile(self, builder: Any, network: Any, config: Any, target: Path) -> bool:
        """Compiles into a file; False where TensorRT refuses."""
        if hasattr(builder, "build_serialized_network_to_stream"):  # not in 10.3
            with target.open("wb") as file:
                writer = _writer(self.module, file)
                done = builder.build_serialized_network_to_stream(network, config, writer)
                return bool(done)
        plan = builder.build_serialized_network(network, config)
        if plan is not None:
            target.write_bytes(memoryview(plan))
        return plan is not None

    def read(self, plan: Path) -> Engine:
        """Makes a plan ready; raises TensorRtError."""
        if self._runtime is None:
            self._runtime = self.module.Runtime(self.log)
        with plan.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
            engine = self._runtime.deserialize_cuda_engine(content)
        if engine is None:
            raise TensorRtError(f"{plan}: {self.builder} cannot run it: {self.last_words()}")
        return engine

    def create_context(self, engine: Engine) -> Context:
        """Something that runs an engine in scratch memory that it is given."""
        strategy = self.module.ExecutionContextAllocationStrategy.USER_MANAGED
        if self.name == "tensorrt_rtx":  # its graphs must know how it allocates, so it makes them
            config = engine.create_runtime_config()
            config.set_execution_context_allocation_strategy(strategy)
            config.cuda_graph_strategy = self.module.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            context = engine.create_execution_context(config)
        else:
            context = engine.create_execution_context(strategy)
        if context is None:
            raise TensorRtError(f"{self.builder} cannot run the plan: {self.last_words()}")
        return context

    def last_words(self) -> str:
        """The newest errors that the library logged."""
        return "; ".join(self.log.errors[-3:]) or "it does not say why"


def _log(trt: Any) -> Any:
    """A logger that keeps the errors, for our own."""

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(message)

    return Log()


def _monitor(trt: Any, report: Callable[[float], bool]) -> Any:
    """Places phases within steps of phases on one scale from 0 to 1."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.next: dict[str, float] = {}  # where the next step of a phase begins
            self.width: dict[str, float] = {}  # of each of its steps
            self.done = 0.0  # phases overlap at times; what is done stays done

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            self.next[name] = self.next.get(parent, 0.0) if parent else 0.0
            self.width[name] = (self.width.get(parent, 0.0) if parent else 1.0) / steps

        def step_complete(self, name: str, step: int) -> bool:
            self.next[name] += self.width[name]
            self.done = max(self.done, self.next[name])
            return report(self.done)

        def phase_finish(self, name: str) -> None:
            del self.next[name], self.width[name]

    return Monitor()


def _writer(trt: Any, file: Any) -> Any:
    """What a plan is streamed to."""

    class Writer(trt.IStreamWriter):  # type: ignore[misc]
        def write(self, piece: bytes) -> int:
            return int(file.write(piece))

    return Writer()
