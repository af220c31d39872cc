"""What would answer: the model that is to run, its plans and memory, and each backend."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from molmo_cli.findings import Finding
from molmo_cli.models import ModelError, shipped_bundle

if TYPE_CHECKING:
    from molmo_engine.backends import BackendState
    from molmo_engine.bundle import Bundle

INSTALL = {
    "tensorrt": "JetPack brings it; elsewhere: pip install tensorrt 'molmo_ros[tensorrt]'",
    "tensorrt_rtx": "pip install 'molmo_ros[rtx]'",
    "onnxruntime": "pip install 'molmo_ros[cpu]'",
}


def look_at_engine(directory: Path | None, asked: str) -> list[Finding]:
    """directory: of the bundle, None = the shipped one; asked: "auto", or the backend to use."""
    from molmo_engine.backends import backends
    from molmo_engine.bundle import Bundle, BundleError

    try:
        bundle = Bundle.open(directory or shipped_bundle())
    except (BundleError, ModelError) as error:
        return [Finding("bundle", "cannot be used", str(error), fails=True)]
    states = backends()
    obstacles = {state.name: _obstacle(bundle, state) for state in states}
    usable = [s for s in states if asked in ("auto", s.name) and not obstacles[s.name]]
    findings = [*_contents(bundle), *(_row(s, obstacles[s.name], asked) for s in states)]
    if not usable:
        return [*findings, Finding("answers", "nothing can compute them", fails=True)]
    chosen = f"{usable[0].name} {usable[0].version} computes them"
    return [*findings, Finding("answers", chosen), _room(bundle, usable[0].name)]


def _contents(bundle: Bundle) -> Iterator[Finding]:
    from molmo_engine.bundle import TOKENIZER
    from molmo_engine.reference import OUTPUTS

    manifest = bundle.manifest
    yield Finding(
        "bundle",
        f"{manifest.model_id}, {manifest.precision}, {manifest.capacity} tokens, whole: "
        f"{bundle.directory}",
    )
    again = f"export it again: molmo export CHECKPOINT {bundle.directory}"
    if TOKENIZER not in manifest.files:
        yield Finding("tokenizer", "not there: it cannot be asked in words", again, fails=True)
    if OUTPUTS not in manifest.files:
        yield Finding("self-check", "without recorded outputs molmo verify needs torch", again)
    yield from (_plan(bundle, number) for number in range(len(manifest.plans)))


def _plan(bundle: Bundle, number: int) -> Finding:
    from molmo_engine.bundle import BundleError, check_file

    plan = bundle.manifest.plans[number]
    found = f"{plan.part} for {plan.architecture} by {plan.builder}, {plan.weights} weights"
    try:
        check_file(bundle.directory, plan.file, bundle.manifest.files[plan.file])
    except BundleError as error:
        return Finding("plan", found, str(error))
    return Finding("plan", found)


def _row(state: BackendState, obstacle: str, asked: str) -> Finding:
    found = state.version or "not installed"
    if state.version and state.problem:
        found += f", but {state.problem}"
    is_asked = state.name == asked
    # Of the others only what lacks nothing but a plan is worth a word.
    advice = obstacle if is_asked or not state.problem else ""
    return Finding(state.name, found, advice, fails=is_asked and bool(obstacle))


def _obstacle(bundle: Bundle, state: BackendState) -> str:
    """Why a backend cannot run a bundle here, and what to do; empty when it can."""
    from molmo_engine.bundle import BundleError
    from molmo_engine.trt_api import TensorRtError
    from molmo_engine.trt_device import DeviceError

    if state.version is None:
        return INSTALL[state.name]
    if state.problem:
        return f"needs an NVIDIA GPU with its driver: {state.problem}"
    if state.name == "onnxruntime":
        is_too_short = bundle.manifest.precision == "bf16"
        again = f"molmo export CHECKPOINT {bundle.directory} --precision fp32"
        return f"it cannot compute in bf16: {again}" if is_too_short else ""
    try:
        _find_plans(bundle, state.name)
    except (BundleError, TensorRtError, DeviceError) as error:
        return str(error)
    return ""


def _find_plans(bundle: Bundle, library: str) -> None:
    from molmo_engine.plans import find_plan
    from molmo_engine.trt_api import TensorRt
    from molmo_engine.trt_device import find_gpu

    builder, architecture = TensorRt(library).builder, find_gpu().architecture
    for part in ("vision", "decoder", "prefill"):
        if bundle.has_part(part):
            find_plan(bundle, part, builder, architecture)


def _room(bundle: Bundle, backend: str) -> Finding:
    """Whether the model fits where it would run."""
    from molmo_engine.trt_device import DeviceError, available_bytes, find_gpu
    from molmo_engine.trt_memory import running_memory

    needed = running_memory(bundle, bundle.manifest.graphs[0].dialect)
    try:
        free = available_bytes() if backend == "onnxruntime" else find_gpu().free
    except DeviceError as error:
        return Finding("room", f"takes {needed}; what is free is unknown: {error}")
    fits = needed.total <= free
    advice = "" if fits else "end other programs, or export it with --precision int4"
    return Finding("room", f"takes {needed}; {free / 1e9:.2f} GB are free", advice, not fits)
