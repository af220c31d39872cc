"""Compiles the graphs of a bundle with TensorRT, for the machine that runs them or another one.

With `tensorrt_rtx` this needs no GPU, so any machine can check that every graph stays within what
TensorRT takes; that says nothing of numbers or speed. The plans appear in the bundle together:
whenever a build is interrupted, the bundle is what it was before.

T tokens of one decoder run: 1...PREFILL when a prompt is read, 1...STEP when an answer is decoded
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from molmo_engine.build_inputs import weights_as_inputs
from molmo_engine.build_staging import staged, take_in
from molmo_engine.bundle import PLANS, Bundle, GraphSpec, Plan
from molmo_engine.runtime import STEP
from molmo_engine.trt_api import LIBRARIES, TensorRt, TensorRtError
from molmo_engine.trt_device import DeviceError, available_bytes, find_gpu
from molmo_engine.trt_memory import PREFILL, Memory, building_bytes, running_memory

WEIGHTS = ("external", "embedded")
Range = tuple[int, int, int]  # smallest, expected, largest
Report = Callable[[str, float], None]  # is told a part and the share of it that is done


class BuildError(RuntimeError):
    """What cannot be compiled as asked, or what TensorRT refuses; the message has its words."""


@dataclass(frozen=True)
class Order:
    """What is to be compiled, checked as far as possible before it begins."""

    bundle: Bundle
    library: TensorRt
    architecture: str
    weights: str

    @property
    def graphs(self) -> list[GraphSpec]:
        graphs = self.bundle.manifest.graphs
        return [graph for graph in graphs if graph.dialect == self.library.dialect]

    @property
    def running(self) -> Memory:
        """What the plans take on the GPU, estimated."""
        return running_memory(self.bundle, self.library.dialect)

    @property
    def building(self) -> int:
        """Bytes that compiling takes of the computer's memory, estimated."""
        return building_bytes(self.bundle, self.weights == "embedded")


@dataclass(frozen=True)
class Built:
    """A compiled graph."""

    plan: Plan
    seconds: float
    size: int  # bytes of the file


def silent(part: str, share: float) -> None:
    """Reports to nobody."""


def build_bundle(
    bundle_dir: str | os.PathLike[str],
    library: str | None = None,
    architecture: str | None = None,
    weights: str = "external",
    report: Report = silent,
) -> list[Built]:
    """Adds plans of all graphs to a bundle, instead of those it has for the same purpose.

    library:      one of trt_api.LIBRARIES; None = the first that is installed
    architecture: "SM87"; None = that of the GPU in this machine
    weights:      "external": the plan is given them when it runs, compiling takes half a GB;
                  "embedded": the plan has its own copy

    Raises BundleError for a damaged bundle, BuildError for what cannot be compiled.
    """
    return build(order(bundle_dir, library, architecture, weights), report)


def order(
    bundle_dir: str | os.PathLike[str],
    library: str | None = None,
    architecture: str | None = None,
    weights: str = "external",
) -> Order:
    """Finds out what `build` would do; the arguments are those of `build_bundle`."""
    if weights not in WEIGHTS:
        raise BuildError(f"weights {weights!r}: wanted one of {', '.join(WEIGHTS)}")
    bundle, found = Bundle.open(bundle_dir), find_library(library)
    bundle.graph("decoder", found.dialect)  # raises for a bundle without this dialect
    return Order(bundle, found, _architecture(found, architecture), weights)


def build(order: Order, report: Report = silent) -> list[Built]:
    """Compiles what was ordered and enters it into the bundle."""
    _check_memory(order)
    name = f"{order.architecture}-{order.bundle.manifest.precision}-{order.library.version}"
    found = []
    with staged(order.bundle.directory) as staging:
        for graph in order.graphs:
            start = time.perf_counter()
            path = staging / f"{graph.part}.plan"
            compile_graph(order, graph, path, report)
            plan = Plan(
                file=f"{PLANS}/{name}/{path.name}",
                part=graph.part,
                dialect=graph.dialect,
                builder=order.library.builder,
                architecture=order.architecture,
                weights=order.weights,
            )
            found.append(Built(plan, time.perf_counter() - start, path.stat().st_size))
        plans = take_in(order.bundle.directory, staging, [one.plan for one in found])
    return [Built(plan, one.seconds, one.size) for plan, one in zip(plans, found, strict=True)]


def find_library(name: str | None) -> TensorRt:
    """An installed TensorRT; raises BuildError without one."""
    reasons = []
    for one in (name,) if name else LIBRARIES:
        try:
            return TensorRt(one)
        except TensorRtError as error:
            reasons.append(str(error))
    raise BuildError("; ".join(reasons))


def compile_graph(order: Order, graph: GraphSpec, target: Path, report: Report = silent) -> None:
    """Parses a graph and compiles it into a file."""
    trt, library = order.library.module, order.library
    builder = trt.Builder(library.log)
    # Tensors keep the types of the graph: nothing is silently made less precise.
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    path = order.bundle.path(graph.file)
    parser = trt.OnnxParser(network, library.log)
    if order.weights == "embedded":
        is_read = parser.parse_from_file(str(path))
    else:
        is_read = parser.parse(weights_as_inputs(path.read_bytes()))
    if not is_read:
        errors = [parser.get_error(i) for i in range(parser.num_errors)]
        reasons = [f"{e.node_operator()} {e.node_name()}: {e.desc()}" for e in errors]
        raise BuildError(f"{path}: TensorRT cannot read it: {'; '.join(reasons)}")
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)  # the same for products in fp32
    library.set_target(config, order.architecture)
    for sizes in profiles(order.bundle, graph):
        config.add_optimization_profile(_profile(builder, graph, sizes))
    watch = _Watch(graph.part, report)
    library.watch(config, watch)
    if not library.compile(builder, network, config, target):
        if watch.stopped is not None:
            raise watch.stopped
        raise BuildError(f"{path}: TensorRT cannot build it: {library.last_words()}")
    report(graph.part, 1.0)


def profiles(bundle: Bundle, graph: GraphSpec) -> list[dict[str, Range]]:
    """The sizes that each dynamic dimension may take, one mapping per profile of the plan."""
    capacity = bundle.manifest.capacity
    if graph.part == "vision":
        most = 1 + bundle.config.crops.max_crops
        crops = (1, (most + 1) // 2, most)
        return [{"crops": crops, "views": crops, "tokens": (1, capacity // 2, capacity)}]
    prompt, rows = min(PREFILL, capacity), (1, 1, STEP)
    reading = {"tokens": (1, prompt // 2, prompt), "rows": rows}
    # An exact profile of one token would make TensorRT keep the weights twice.
    answering = {"tokens": (1, 1, STEP), "rows": rows}
    if graph.part == "prefill":
        return [reading]
    return [answering] if bundle.has_part("prefill") else [reading, answering]


class _Watch:
    """Passes progress on. An exception must not cross TensorRT: it stops it and waits here."""

    def __init__(self, part: str, report: Report) -> None:
        self._part, self._report = part, report
        self.stopped: BaseException | None = None

    def __call__(self, share: float) -> bool:
        try:
            self._report(self._part, share)
        except BaseException as error:  # a KeyboardInterrupt above all
            self.stopped = error
        return self.stopped is None


def _profile(builder: Any, graph: GraphSpec, sizes: dict[str, Range]) -> Any:
    profile = builder.create_optimization_profile()
    for spec in graph.inputs:
        if any(isinstance(size, str) for size in spec.shape):
            ranges = [(s, s, s) if isinstance(s, int) else sizes[s] for s in spec.shape]
            profile.set_shape(spec.name, *zip(*ranges, strict=True))
    return profile


def _architecture(library: TensorRt, wanted: str | None) -> str:
    """What to compile for; raises BuildError where the library cannot."""
    targets = library.targets()
    if wanted is None or not targets:
        try:
            own = find_gpu().architecture
        except DeviceError as error:
            hint = f"name another one, such as {targets[-1]}" if targets else "build there instead"
            raise BuildError(f"no GPU to build for in this machine ({error}): {hint}") from error
        if wanted not in (None, own):
            raise BuildError(
                f"{wanted}: {library.builder} builds for the GPU in this machine alone, {own}. "
                "Build on the machine that is to run the plan"
            )
        wanted = own
    if targets and wanted not in targets:
        raise BuildError(f"{wanted}: {library.builder} builds for {', '.join(targets)}")
    return wanted


def _check_memory(order: Order) -> None:
    """Refuses what would be killed half-way, or drive everything else into swap."""
    available = available_bytes()
    if order.building > available:
        hint = "--weights external takes 0.6 GB" if order.weights == "embedded" else "free some"
        raise BuildError(
            f"building takes about {order.building / 1e9:.1f} GB of memory, "
            f"{available / 1e9:.1f} GB are free: {hint}"
        )
