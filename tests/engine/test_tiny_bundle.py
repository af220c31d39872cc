"""The bundle that we ship: it is the shipped checkpoint, and TensorRT takes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import molmo_engine
from molmo_engine.build import Order, compile_graph
from molmo_engine.bundle import Bundle
from molmo_engine.ort_runtime import OrtRuntime, dialects_here
from molmo_engine.predictor import Predictor
from molmo_engine.records import AskOptions
from molmo_engine.trt_api import TensorRt
from molmo_engine.verify import verify_bundle
from molmo_model.torch_runtime import TorchRuntime
from molmo_sim.questions import questions_about
from molmo_sim.render import open_renderer
from molmo_sim.scene import sample_scene

CHECKPOINT = Path(__file__).parent.parent.parent / "assets" / "molmo-tiny"
BUNDLE = CHECKPOINT / "bundle"
SCENES = range(90_000, 90_050)
DIALECTS = sorted({graph.dialect for graph in Bundle.open(BUNDLE).manifest.graphs})


@pytest.fixture(scope="module")
def questions():
    """A picture and a question for each of 50 scenes, the kinds of question in turn."""
    renderer = open_renderer()
    asked = []
    for number, seed in enumerate(SCENES):
        scene = sample_scene(seed)
        frame = renderer.render(scene)
        candidates = questions_about(scene, frame, np.random.default_rng(seed))
        asked.append((frame.rgb, candidates[number % len(candidates)].prompt))
    renderer.close()
    return asked


def answers(runtime, questions, draft):
    loaded = molmo_engine.load(BUNDLE, threads=1)
    predictor = Predictor(runtime, loaded.prompter, loaded.config, model_id="tiny")
    options = AskOptions(draft=draft)
    return [predictor.ask(rgb, prompt, options) for rgb, prompt in questions]


@pytest.fixture(scope="module")
def expected(questions):
    """What torch answers, token by token."""
    return answers(TorchRuntime.from_checkpoint(CHECKPOINT), questions, draft=False)


def test_the_questions_are_about_things_that_are_there(expected):
    assert sum(len(answer.points) for answer in expected) > len(SCENES) / 2


def check_same(found, wanted):
    assert found.text == wanted.text
    assert found.usage.answer_tokens == wanted.usage.answer_tokens
    assert found.points == wanted.points
    for one, other in zip(found.found, wanted.found, strict=True):
        assert one.pixel == other.pixel
        assert one.confidence == pytest.approx(other.confidence, abs=1e-3)


@pytest.mark.parametrize("draft", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_token_is_that_of_torch_on_fifty_scenes(dialect, draft, questions, expected):
    if dialect not in dialects_here():
        pytest.skip(f"this onnxruntime is too old for the {dialect} dialect")
    runtime = OrtRuntime(Bundle.open(BUNDLE), threads=1, dialect=dialect)
    for answer, wanted in zip(answers(runtime, questions, draft), expected, strict=True):
        check_same(answer, wanted)


def test_torch_guesses_ahead_as_losslessly(questions, expected):
    found = answers(TorchRuntime.from_checkpoint(CHECKPOINT), questions, draft=True)
    for answer, wanted in zip(found, expected, strict=True):
        check_same(answer, wanted)


def test_neither_guessing_nor_stopping_changes_an_answer_on_five_hundred_scenes():
    predictor = molmo_engine.load(BUNDLE, threads=1)
    renderer = open_renderer()
    passes, greedy = 0, 0
    for seed in range(90_000, 90_500):
        scene = sample_scene(seed)
        frame = renderer.render(scene)
        candidates = questions_about(scene, frame, np.random.default_rng(seed))
        question = candidates[seed % len(candidates)]
        plain = predictor.ask(frame.rgb, question.prompt, AskOptions(draft=False))
        drafted = predictor.ask(frame.rgb, question.prompt)
        check_same(drafted, plain)
        stopped = predictor.ask(frame.rgb, question.prompt, AskOptions(max_points=1))
        assert plain.text.startswith(stopped.text)
        assert [found.pixel for found in stopped.found] == [one.pixel for one in plain.found[:1]]
        if question.kind == "point" and len(plain.points) == 1:
            passes, greedy = passes + drafted.usage.passes, greedy + plain.usage.passes
    renderer.close()
    assert 0 < passes <= 0.4 * greedy


def test_the_bundle_is_made_of_the_checkpoint_beside_it():
    verdict = verify_bundle(BUNDLE, CHECKPOINT)
    assert verdict.tokens_equal
    assert verdict.logit_error < 2e-5


@pytest.mark.parametrize("dialect", ["native", "compat"])
@pytest.mark.parametrize("part", ["vision", "decoder"])
def test_tensorrt_builds_every_graph(part, dialect, tmp_path):
    pytest.importorskip("tensorrt_rtx", reason="needs TensorRT-RTX: pip install tensorrt_rtx")
    bundle = Bundle.open(BUNDLE)
    order = Order(bundle, TensorRt("tensorrt_rtx"), "SM89", "embedded")
    compile_graph(order, bundle.graph(part, dialect), tmp_path / "plan")
    assert (tmp_path / "plan").stat().st_size > 100_000


def test_checkpoint_and_bundle_stay_small():
    assert sum(path.stat().st_size for path in BUNDLE.iterdir()) < 12e6
    assert sum(path.stat().st_size for path in CHECKPOINT.iterdir() if path.is_file()) < 12e6
