"""What a bundle runs on: the fastest backend that is ready, and a sentence where it is not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from double import DoubleLibrary, HostDevice, add_double_plans

import molmo_engine
from molmo_engine.backends import BACKENDS, BackendState, backends, open_runtime
from molmo_engine.bundle import Bundle, BundleError
from molmo_engine.trt_runtime import TrtRuntime

SHIPPED = Path(__file__).parent.parent.parent / "assets" / "molmo-tiny" / "bundle"


@pytest.fixture
def copy(tmp_path):
    return shutil.copytree(SHIPPED, tmp_path / "bundle")


@pytest.fixture
def gpu(monkeypatch):
    """A machine with a GPU: what `tensorrt` opens is the double, `tensorrt_rtx` is not there."""

    def open_double(bundle, library):
        assert library == "tensorrt"
        device = HostDevice()
        return TrtRuntime(bundle, DoubleLibrary(device), device)

    states = [
        BackendState("tensorrt", "1.0", None),
        BackendState("tensorrt_rtx", None, "not there"),
        BackendState("onnxruntime", "1.0", None),
    ]
    monkeypatch.setattr("molmo_engine.backends.backends", lambda: states)
    monkeypatch.setattr("molmo_engine.trt_runtime.open_trt", open_double)


def test_every_backend_is_ready_or_says_why_not():
    states = backends()
    assert [one.name for one in states] == list(BACKENDS)
    for state in states:
        assert state.version or state.problem
    assert states[-1].problem is None


def test_with_a_gpu_and_a_plan_tensorrt_answers(copy, gpu):
    add_double_plans(copy, "external")
    with_plan = molmo_engine.load(copy)
    assert with_plan.engine_id == "double 1.0 double, native fp32, external weights"
    with_plan.close()


def test_with_a_gpu_and_no_plan_the_cpu_answers_and_the_log_says_what_to_run(copy, gpu, caplog):
    predictor = molmo_engine.load(copy)
    assert predictor.engine_id.startswith("onnxruntime")
    assert f"Build it here: molmo build {copy}" in caplog.text


def test_a_backend_that_was_asked_for_is_not_replaced(copy, gpu):
    with pytest.raises(BundleError, match="molmo build"):
        molmo_engine.load(copy, backend="tensorrt")


def test_onnx_runtime_is_used_when_asked_for(copy, gpu):
    add_double_plans(copy, "external")
    assert molmo_engine.load(copy, "onnxruntime").engine_id.startswith("onnxruntime")


def test_a_backend_that_does_not_exist_names_those_that_do():
    with pytest.raises(ValueError, match="'cuda': wanted auto or one of tensorrt, tensorrt_rtx"):
        open_runtime(Bundle.open(SHIPPED), "cuda")
