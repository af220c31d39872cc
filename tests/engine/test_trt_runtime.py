"""The TensorRT runtime answers as ONNX Runtime does, and leaves nothing behind.

Without an NVIDIA GPU it runs on a double of TensorRT (double.py); with one, on the real library.
"""

from __future__ import annotations

import gc
import shutil
import weakref
from pathlib import Path

import numpy as np
import pytest
from bundles import golden_bundle
from double import DoubleLibrary, HostDevice, add_double_plans

from molmo_engine.backends import backends
from molmo_engine.build import build_bundle
from molmo_engine.bundle import Bundle, BundleError
from molmo_engine.ort_runtime import OrtRuntime
from molmo_engine.plans import add_plans
from molmo_engine.predictor import Predictor
from molmo_engine.records import AskOptions
from molmo_engine.trt_api import TensorRt
from molmo_engine.trt_device import CudaDevice, DeviceError, DeviceMemoryError
from molmo_engine.trt_runtime import TrtRuntime
from molmo_model.text import Prompter, load_tokenizer
from molmo_sim.render import open_renderer
from molmo_sim.scene import sample_scene

SHIPPED = Path(__file__).parent.parent.parent / "assets" / "molmo-tiny" / "bundle"
REAL = next((one.name for one in backends()[:2] if one.problem is None), None)
NO_DOUBLE = pytest.mark.skipif(REAL is not None, reason="the double alone can be looked into")
QUESTIONS = ["Point to the red cube.", "How many spheres are there?", "Point to the cubes."]


def with_plans(source: Path, folder: Path, weights: str = "external", **double) -> Bundle:
    """A copy of a bundle with plans for what this machine has."""
    shutil.copytree(source, folder)
    if REAL is None:
        return add_double_plans(folder, weights, **double)
    build_bundle(folder, REAL, weights=weights)
    return Bundle.open(folder)


def open_here(bundle: Bundle) -> TrtRuntime:
    """Its runtime: on the GPU, or on the double."""
    if REAL is not None:
        return TrtRuntime(bundle, TensorRt(REAL), CudaDevice())
    device = HostDevice()
    return TrtRuntime(bundle, DoubleLibrary(device), device)


def predictor(runtime, bundle: Bundle) -> Predictor:
    prompter = Prompter(load_tokenizer(bundle.directory), bundle.config)
    return Predictor(runtime, prompter, bundle.config, model_id="tiny")


@pytest.fixture(scope="module")
def scenes():
    """Pictures of the simulated table."""
    renderer = open_renderer()
    pictures = [renderer.render(sample_scene(seed)).rgb for seed in range(91_000, 91_004)]
    renderer.close()
    return pictures


def tokens_of(predictor: Predictor, scenes, options: AskOptions) -> list[tuple[str, int]]:
    """Every answer about every scene, three questions each, the later ones on a known picture."""
    answers = [predictor.ask(rgb, prompt, options) for rgb in scenes for prompt in QUESTIONS]
    return [(answer.text, answer.usage.answer_tokens) for answer in answers]


@pytest.mark.parametrize("weights", ["external", "embedded"])
@pytest.mark.parametrize("dialect", ["native", "compat"])
def test_answers_are_those_of_onnx_runtime_token_for_token(tmp_path, scenes, weights, dialect):
    if REAL is not None and dialect != TensorRt(REAL).dialect:
        pytest.skip(f"{REAL} is given the other dialect")
    bundle = with_plans(SHIPPED, tmp_path / "bundle", weights, dialect=dialect)
    wanted = predictor(OrtRuntime(bundle, threads=1, dialect=dialect), bundle)
    found = predictor(open_here(bundle), bundle)
    for options in (AskOptions(), AskOptions(draft=False, max_new_tokens=12)):
        assert tokens_of(found, scenes, options) == tokens_of(wanted, scenes, options)
    assert f"{weights} weights" in found.engine_id
    found.close()


@pytest.mark.parametrize(
    ("variant", "precision"),
    [("tiny-qwen2", "fp16"), ("tiny-qwen2", "fp32"), ("tiny-olmo", "fp32"), ("tiny-moe", "fp32")],
)
def test_logits_are_those_of_onnx_runtime_for_every_family(tmp_path, variant, precision):
    bundle = with_plans(golden_bundle(precision, variant), tmp_path / "bundle")
    found, wanted = open_here(bundle), OrtRuntime(bundle, threads=1)
    tolerance = 2e-2 if precision == "fp16" else 2e-4  # of the largest logit
    for one, other in zip(run_through(found, bundle), run_through(wanted, bundle), strict=True):
        assert np.abs(one - other).max() < tolerance * np.abs(other).max()
    found.close()


def run_through(runtime, bundle: Bundle) -> list[np.ndarray]:
    """Logits of a prompt with a picture, of steps of all widths, behind a rewind and a return."""
    rng = np.random.default_rng(5)
    crops, vocabulary = bundle.config.crops, bundle.config.decoder.vocab_size
    pixels = rng.standard_normal((2, crops.patches, crops.patch_values)).astype(np.float32)
    masks = rng.choice(np.array([0, 0.5, 1], np.float32), (2, crops.patches))
    index = np.full((2, crops.pooled), -100)
    index.flat[:40] = np.arange(1, 41)
    ids = rng.integers(0, vocabulary, 70)
    features = runtime.encode(pixels, masks, index, len(ids))
    found = [runtime.prefill(ids, features).copy()]
    kept = runtime.save(41)
    for width in (1, 8, 2, 7, 3, 6, 4, 5, 1):
        found.append(runtime.step(rng.integers(0, vocabulary, width)).copy())
        runtime.rewind(70)
    found.append(runtime.prefill(ids[41:], None, kept).copy())
    found.append(runtime.step(ids[:3]).copy())
    return found


@NO_DOUBLE
def test_long_prompts_are_read_in_pieces(tmp_path):
    bundle = with_plans(SHIPPED, tmp_path / "bundle", tokens=32)
    found, wanted = open_here(bundle), OrtRuntime(bundle, threads=1)
    ids = np.arange(100)
    features = np.random.default_rng(1).standard_normal((100, 256)).astype(np.float32)
    features = features[:, : bundle.config.decoder.width]
    found_logits, wanted_logits = (r.prefill(ids, features) for r in (found, wanted))
    assert np.abs(found_logits - wanted_logits).max() < 1e-4


def test_a_prompt_that_does_not_fit_is_refused_and_the_next_one_answered(tmp_path):
    bundle = with_plans(SHIPPED, tmp_path / "bundle")
    runtime = open_here(bundle)
    first = runtime.prefill(np.arange(9), None).copy()
    with pytest.raises(ValueError, match=f"holds {runtime.capacity} tokens"):
        runtime.prefill(np.zeros(runtime.capacity + 1, np.int64), None)
    assert np.array_equal(runtime.prefill(np.arange(9), None), first)
    runtime.close()


@NO_DOUBLE
def test_every_step_is_one_launch_of_a_recorded_graph(tmp_path):
    runtime = open_here(with_plans(SHIPPED, tmp_path / "bundle"))
    graphs = runtime._device.graphs
    assert [len(graph.work) for graph in graphs] == [1] * 8
    runtime.prefill(np.arange(9), None)
    for width in (1, 1, 3, 8):
        runtime.step(np.arange(width))
    assert [graph.launches for graph in graphs] == [2, 0, 1, 0, 0, 0, 0, 1]


@NO_DOUBLE
def test_a_library_that_records_by_itself_is_left_to_it(tmp_path):
    bundle, device = with_plans(SHIPPED, tmp_path / "bundle"), HostDevice()
    runtime = TrtRuntime(bundle, DoubleLibrary(device, records_graphs=False), device)
    assert not device.graphs
    assert runtime.prefill(np.arange(9), None).shape == (bundle.config.decoder.embedding_size,)


@NO_DOUBLE
def test_external_weights_are_brought_once_for_all_plans(tmp_path):
    bundle = with_plans(golden_bundle("fp32", "tiny-moe"), tmp_path / "bundle")
    runtime = open_here(bundle)
    prompts, answers = (runtime._parts[name] for name in ("prefill", "decoder"))
    assert "decoder.0.experts.up" in prompts.weights
    assert prompts.weights == answers.weights
    for name in prompts.weights:
        assert prompts._bound[name] == answers._bound[name]


@NO_DOUBLE
def test_closing_frees_contexts_engines_and_memory(tmp_path):
    runtime = open_here(with_plans(SHIPPED, tmp_path / "bundle"))
    device, library = runtime._device, runtime._library
    held = [*library.contexts, *(part.engine for part in runtime._parts.values())]
    alive = [weakref.ref(one) for one in held]
    del held, library.contexts[:]
    runtime.close()
    gc.collect()
    assert [ref() for ref in alive] == [None] * len(alive)
    assert not device.is_open
    assert device.used == 0


@NO_DOUBLE
@pytest.mark.parametrize("share", [0.1, 0.9])
def test_too_little_memory_is_told_with_numbers_and_nothing_stays_allocated(tmp_path, share):
    bundle = with_plans(SHIPPED, tmp_path / "bundle")
    whole = HostDevice()
    TrtRuntime(bundle, DoubleLibrary(whole), whole)
    device = HostDevice(int(whole.used * share))
    with pytest.raises(DeviceMemoryError, match=r"takes about .*weights.*GB free\. End other"):
        TrtRuntime(bundle, DoubleLibrary(device), device)
    assert not device.is_open


def test_without_a_plan_it_says_what_to_run(tmp_path):
    shutil.copytree(SHIPPED, tmp_path / "bundle")
    with pytest.raises(BundleError, match=f"molmo build {tmp_path / 'bundle'}"):
        open_here(Bundle.open(tmp_path / "bundle"))


@NO_DOUBLE
def test_a_damaged_plan_is_never_read(tmp_path):
    bundle = with_plans(SHIPPED, tmp_path / "bundle")
    plan = bundle.path(bundle.manifest.plans[0].file)
    plan.write_text(plan.read_text() + " ")
    with pytest.raises(BundleError, match=r"\.plan: is damaged.*molmo build"):
        open_here(bundle)


@NO_DOUBLE
def test_a_plan_of_other_weights_is_refused(tmp_path):
    bundle = with_plans(SHIPPED, tmp_path / "bundle")
    other = with_plans(golden_bundle(), tmp_path / "other")
    for plan, wrong in zip(bundle.manifest.plans, other.manifest.plans, strict=True):
        shutil.copy(other.path(wrong.file), bundle.path(plan.file))
    add_plans(bundle.directory, bundle.manifest.plans)
    with pytest.raises(BundleError, match="neither the graph's nor stored weights"):
        open_here(Bundle.open(bundle.directory))


@pytest.mark.skipif(REAL is not None, reason="there is a GPU")
def test_without_a_gpu_the_device_says_why():
    pytest.importorskip("cuda.bindings", reason="needs cuda-bindings")
    with pytest.raises(DeviceError, match="asking for GPUs: .*cudaError"):
        CudaDevice()
