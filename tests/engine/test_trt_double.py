"""The double of TensorRT refuses what TensorRT refuses, and has no method that TensorRT lacks."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from double import DoubleContext, DoubleEngine, DoubleLibrary, HostDevice, add_double_plans

from molmo_engine.plans import find_plan
from molmo_engine.trt_api import TensorRtError
from molmo_engine.trt_cache import Cache
from molmo_engine.trt_device import DeviceError
from molmo_engine.trt_numbers import open_tensors
from molmo_engine.trt_pass import Part
from molmo_engine.trt_weights import upload_weights

SHIPPED = Path(__file__).parent.parent.parent / "assets" / "molmo-tiny" / "bundle"
READING, ANSWERING = 0, 1


@pytest.fixture
def part(tmp_path):
    """The decoder of Molmo-tiny with everything bound as it should be."""
    bundle = add_double_plans(shutil.copytree(SHIPPED, tmp_path / "bundle"), "external")
    device = HostDevice()
    library = DoubleLibrary(device)
    plan = find_plan(bundle, "decoder", library.builder, device.gpu.architecture)
    graph = bundle.graph("decoder", plan.dialect)
    part = Part(library, device, library.read(bundle.path(plan.file)), graph)
    weights = upload_weights(
        device, open_tensors(bundle.path("weights.safetensors")), part.weights
    )
    shared = weights | Cache(device, graph).addresses
    part.bind(shared, (device.allocate(part.scratch), part.scratch))
    return part


def opened(part, profile=ANSWERING, tokens=1, **moved):
    """A context in a size; `moved` gives tensors other addresses."""
    one = part.open(profile, {**part.buffers(profile), **moved})
    one.resize(tokens=tokens, rows=1)
    return one


def inputs(part, tokens=1):
    width = part.spec.inputs[0].shape[-1]
    return {
        "embeddings": np.zeros((tokens, width), np.float32),
        "positions": np.arange(tokens),
        "rows": np.zeros(1, np.int64),
    }


def test_what_is_bound_as_it_should_be_runs(part):
    one = opened(part, tokens=3)
    one.run(**inputs(part, 3))
    one.record()
    one.run(**inputs(part, 3))
    logits = np.zeros(part.spec.outputs[0].shape[-1], np.float32)
    one.read("logits", logits)
    part.device.synchronize()
    assert np.ptp(logits) > 0


@pytest.mark.parametrize(("profile", "tokens"), [(ANSWERING, 9), (READING, 2049), (ANSWERING, 0)])
def test_sizes_outside_the_profile_are_refused(part, profile, tokens):
    with pytest.raises(TensorRtError, match=r"refuses the shape .* profile \d ends at"):
        opened(part, profile, tokens)


def test_a_profile_that_is_not_there_is_refused(part):
    with pytest.raises(TensorRtError, match="profile 2: there is none"):
        part.open(2, {})


def test_a_tensor_without_an_address_is_refused(part):
    one = part.open(ANSWERING, {})
    one.resize(tokens=1, rows=1)
    with pytest.raises(TensorRtError, match="embeddings: has no address"):
        one.run()


def test_a_run_without_sizes_is_refused(part):
    one = part.open(ANSWERING, part.buffers(ANSWERING))
    with pytest.raises(TensorRtError, match="embeddings: has no shape"):
        one.run(**inputs(part))


def test_a_cache_that_is_not_updated_in_place_is_refused(part):
    elsewhere = part.device.allocate(1 << 20)
    one = opened(part, **{"new_keys.1": elsewhere})
    with pytest.raises(TensorRtError, match=r"new_keys\.1: is not where keys\.1 is"):
        one.run(**inputs(part))


def test_a_name_of_another_engine_is_refused(part):
    with pytest.raises(TensorRtError, match="crops: there is no such tensor"):
        part.open(ANSWERING, {"crops": part.device.allocate(256)})


def test_memory_of_nobody_is_not_touched(part):
    buffers = part.buffers(ANSWERING)
    one = part.open(ANSWERING, buffers)
    one.resize(tokens=1, rows=1)
    part.device.free(buffers["logits"])
    one.run(**inputs(part))
    with pytest.raises(AssertionError, match="are not this device's memory"):
        part.device.synchronize()


def test_memory_that_is_too_short_is_not_touched(part):
    one = opened(part, READING, 200, logits=part.device.allocate(256))
    one.run(**inputs(part, 200))
    with pytest.raises(AssertionError, match="are not this device's memory"):
        part.device.synchronize()


def test_a_misaligned_address_is_not_taken(part):
    with pytest.raises(AssertionError, match="logits"):
        opened(part, logits=part.device.allocate(1 << 16) + 8)


def test_what_never_ran_cannot_be_recorded(part):
    with pytest.raises(TensorRtError, match="recording what never ran"):
        opened(part).record()


def test_nothing_waits_or_allocates_while_work_is_recorded(part):
    for forbidden in (part.device.synchronize, lambda: part.device.allocate(1)):
        with pytest.raises(DeviceError, match="not permitted when stream is capturing"):
            part.device.record(forbidden)


def test_results_are_there_only_after_waiting(part):
    one = opened(part)
    one.run(**inputs(part))
    logits = np.zeros(part.spec.outputs[0].shape[-1], np.float32)
    one.read("logits", logits)
    assert not logits.any()


@pytest.mark.parametrize(
    ("double", "name"), [(DoubleEngine, "ICudaEngine"), (DoubleContext, "IExecutionContext")]
)
def test_tensorrt_has_every_method_of_the_double(double, name):
    trt = pytest.importorskip(
        "tensorrt_rtx", reason="needs TensorRT-RTX: pip install tensorrt_rtx"
    )
    own = {method for method in vars(double) if not method.startswith("_")}
    assert own
    assert own <= set(dir(getattr(trt, name)))
