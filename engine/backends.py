"""Chooses what a bundle runs on: the fastest of this machine's backends that has what it needs.

Knows no answers: it hands out runtimes. A backend's packages are imported when it is asked for.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from molmo_engine.bundle import Bundle, BundleError
from molmo_engine.runtime import Runtime

BACKENDS = ("tensorrt", "tensorrt_rtx", "onnxruntime")  # the fastest first

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BackendState:
    """Whether a backend can run here, whatever the bundle."""

    name: str
    version: str | None  # None = it is not installed
    problem: str | None  # None = it can


def backends() -> list[BackendState]:
    """All backends in the order in which they are tried."""
    return [_state(name) for name in BACKENDS]


def open_runtime(bundle: Bundle, backend: str = "auto", threads: int = 0) -> Runtime:
    """A bundle's runtime on one of BACKENDS, or on the first that has all it needs.

    threads: of the CPU; 0 = one per physical core

    Raises ValueError for a backend that does not exist, and for the one that was asked for:
    ImportError, TensorRtError or DeviceError without its software or GPU, BundleError without a
    plan for this machine.
    """
    if backend != "auto":
        return _open(bundle, backend, threads)
    for state in backends():
        if state.name == BACKENDS[-1] or state.problem is not None:
            continue
        try:
            return _open(bundle, state.name, threads)
        except BundleError as error:  # no plan, or a damaged one: says what to run
            if find_spec("onnxruntime") is None:
                raise
            log.warning("%s. Until then this answers on the CPU, slowly", error)
    return _open(bundle, BACKENDS[-1], threads)


def _open(bundle: Bundle, backend: str, threads: int) -> Runtime:
    if backend not in BACKENDS:
        raise ValueError(f"backend {backend!r}: wanted auto or one of {', '.join(BACKENDS)}")
    if backend == "onnxruntime":
        from molmo_engine.ort_runtime import OrtRuntime

        return OrtRuntime(bundle, threads)
    from molmo_engine.trt_runtime import open_trt

    return open_trt(bundle, backend)


def _state(name: str) -> BackendState:
    if find_spec(name) is None:
        return BackendState(name, None, f"{name} is not installed")
    if name == "onnxruntime":
        return BackendState(name, _version(name), None)
    from molmo_engine.trt_device import DeviceError, find_gpu

    try:
        find_gpu()
    except DeviceError as error:
        return BackendState(name, _version(name), str(error))
    return BackendState(name, _version(name), None)


def _version(name: str) -> str:
    """As pip knows it; asking the package itself would load it."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "of unknown version"
