"""Compiles the graphs of a bundle with TensorRT.

Compiling needs no GPU: `tensorrt_rtx` is the check, on any machine, that every graph stays within
what TensorRT takes. It says nothing of numbers or speed.

T tokens of one decoder run: 1...PREFILL when a prompt is read, 1...STEP when an answer is decoded
"""

from __future__ import annotations

from typing import Any

from molmo_engine.bundle import Bundle, GraphSpec
from molmo_engine.runtime import STEP

PREFILL = 2048

Range = tuple[int, int, int]  # smallest, expected, largest


class BuildError(RuntimeError):
    """TensorRT refuses a graph; the message has its words."""


def build_plan(bundle: Bundle, graph: GraphSpec, compute_capability: str) -> bytes:
    """Parses a graph and compiles it for a GPU architecture such as "SM89"; returns the plan."""
    import tensorrt_rtx as trt  # type: ignore[import-untyped, unused-ignore]

    log = _log(trt)
    builder = trt.Builder(log)
    # Tensors keep the types of the graph: nothing is silently made less precise.
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    path = bundle.path(graph.file)
    if not parser.parse_from_file(str(path)):
        errors = [parser.get_error(i) for i in range(parser.num_errors)]
        reasons = [f"{e.node_operator()} {e.node_name()}: {e.desc()}" for e in errors]
        raise BuildError(f"{path}: TensorRT cannot read it: {'; '.join(reasons)}")
    config = builder.create_builder_config()
    architectures = trt.ComputeCapability.__members__
    if compute_capability not in architectures:
        raise BuildError(f"{compute_capability}: TensorRT-RTX knows {', '.join(architectures)}")
    config.num_compute_capabilities = 1
    config.set_compute_capability(architectures[compute_capability], 0)
    for sizes in profiles(bundle, graph):
        config.add_optimization_profile(_profile(builder, graph, sizes))
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise BuildError(f"{path}: TensorRT cannot build it: {'; '.join(log.errors)}")
    return bytes(plan)


def profiles(bundle: Bundle, graph: GraphSpec) -> list[dict[str, Range]]:
    """The sizes that each dynamic dimension may take, one mapping per profile of the plan."""
    capacity = bundle.manifest.capacity
    if graph.part == "vision":
        crops = 1 + bundle.config.crops.max_crops
        return [{"crops": (1, (crops + 1) // 2, crops), "tokens": (1, capacity // 2, capacity)}]
    prompt, rows = min(PREFILL, capacity), (1, 1, STEP)
    reading = {"tokens": (1, prompt // 2, prompt), "rows": rows}
    # An exact profile of one token would make TensorRT keep the weights twice.
    answering = {"tokens": (1, 1, STEP), "rows": rows}
    if graph.part == "prefill":
        return [reading]
    return [answering] if bundle.has_part("prefill") else [reading, answering]


def _profile(builder: Any, graph: GraphSpec, sizes: dict[str, Range]) -> Any:
    profile = builder.create_optimization_profile()
    for spec in graph.inputs:
        if any(isinstance(size, str) for size in spec.shape):
            ranges = [(s, s, s) if isinstance(s, int) else sizes[s] for s in spec.shape]
            profile.set_shape(spec.name, *zip(*ranges, strict=True))
    return profile


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
