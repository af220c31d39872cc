"""The decoding loop: text and points as they close, confidence, limits, cancelling, bad input."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from bundles import tiny_bundle, tiny_checkpoint
from scripted import ONE, RGB, scripted
from tiny import byte_tokenizer, config_for

import molmo_engine
from molmo_engine import ort_runtime
from molmo_engine.records import AskOptions, Done, PointFound, Token
from molmo_engine.writing import to_pixel
from molmo_model.image import prepare_image
from molmo_model.molmo import generate
from molmo_model.points import Point
from molmo_model.text import PromptError
from molmo_model.weights import load_model


def test_a_point_comes_right_after_the_token_that_closes_it():
    events = list(scripted(ONE).stream(RGB, "Where?"))
    at = next(i for i, event in enumerate(events) if isinstance(event, PointFound))
    assert "".join(event.text for event in events[:at]) == ONE[: ONE.index(" alt")]
    assert isinstance(events[at + 1], Token)
    assert events[at].point == Point(25.0, 50.5)  # the label is still to come


def test_the_answer_has_text_points_pixels_and_labels():
    answer = scripted(ONE).ask(RGB, "Where?")
    assert answer.text == ONE[1:]
    assert answer.points == (Point(25.0, 50.5, "mug"),)
    assert answer.found[0].pixel == pytest.approx((25.0 / 100 * 400 - 0.5, 50.5 / 100 * 300 - 0.5))


def test_confidence_is_the_product_over_the_tokens_of_both_numbers():
    digits = len("25.0") + len("50.5")  # one token a byte
    answer = scripted(ONE, sure=0.9).ask(RGB, "Where?")
    assert answer.found[0].confidence == pytest.approx(0.9**digits, rel=1e-4)


def test_several_points_come_one_by_one():
    text = ' <points x1="10.0" y1="20.0" x2="30.0" y2="40.0" alt="cups">cups</points> <b>x</b>'
    found = [e for e in scripted(text).stream(RGB, "Where?") if isinstance(e, PointFound)]
    assert [(e.point.x, e.point.y) for e in found] == [(10, 20), (30, 40)]


def test_points_in_another_notation_come_at_the_end():
    answer = scripted(" Click(12.5, 40.0)").ask(RGB, "Where?")
    assert [(found.point.x, found.point.y) for found in answer.found] == [(12.5, 40.0)]
    assert answer.found[0].confidence == pytest.approx(0.9**8, rel=1e-4)


def test_characters_of_several_bytes_arrive_whole():
    events = list(scripted(" 3 × 2 → ok").stream(RGB, "What?"))
    pieces = [event.text for event in events if isinstance(event, Token)]
    assert "×" in pieces
    assert "→" in pieces
    assert "".join(pieces) == " 3 × 2 → ok"


@pytest.mark.parametrize(
    ("point", "pixel"),
    [
        (Point(0, 0), (0, 0)),
        (Point(100, 100), (639, 479)),
        (Point(50, 50), (319.5, 239.5)),
        (Point(100 * 12.5 / 640, 100 * 7.5 / 480), (12, 7)),  # the centre of pixel (12, 7)
    ],
)
def test_percent_run_from_edge_to_edge(point, pixel):
    assert to_pixel(point, 640, 480) == pytest.approx(pixel)


def test_passes_and_tokens_are_counted():
    predictor = scripted(" Yes.")
    answer = predictor.ask(RGB, "Is it?")
    assert predictor.runtime.calls == ["encode", "prefill"] + ["step"] * 5
    assert (answer.usage.answer_tokens, answer.usage.passes) == (5, 6)
    image = prepare_image(RGB, predictor.config)
    expected = predictor.prompter.encode("Is it?", image.tokens)
    assert answer.usage.prompt_tokens == len(expected)


def test_timings_add_up():
    timings = scripted(ONE).ask(RGB, "Where?").timings
    stages = (timings.preprocess_ms, timings.vision_ms, timings.prefill_ms, timings.decode_ms)
    assert min(stages) > 0
    assert sum(stages) == pytest.approx(timings.total_ms, abs=5)
    assert timings.first_token_ms < timings.first_point_ms < timings.total_ms


def test_what_the_reader_does_between_events_is_not_timed():
    stream = scripted(ONE).stream(RGB, "Where?")
    time.sleep(0.3)
    for event in stream:
        if isinstance(event, PointFound):
            time.sleep(0.3)
    timings = event.answer.timings
    stages = (timings.preprocess_ms, timings.vision_ms, timings.prefill_ms, timings.decode_ms)
    assert sum(stages) <= timings.total_ms < 300


def test_the_limit_of_tokens_is_kept_without_a_pass_too_many():
    predictor = scripted(" One two three.")
    answer = predictor.ask(RGB, "Count.", AskOptions(max_new_tokens=4))
    assert answer.text == "One"
    assert predictor.runtime.calls.count("step") == 3


def test_an_answer_ends_where_the_cache_does():
    image = prepare_image(RGB, config_for(byte_tokenizer()))
    prompt = scripted("").prompter.encode("Count.", image.tokens)
    answer = scripted(" One two three.", capacity=len(prompt) + 4).ask(RGB, "Count.")
    assert answer.text == "One"


def test_a_prompt_that_does_not_fit_names_both_numbers():
    with pytest.raises(PromptError, match=r"takes \d+ tokens.*holds 400"):
        scripted("", capacity=400).stream(RGB, "word " * 100)


@pytest.mark.parametrize("draft", [True, False])
@pytest.mark.parametrize(
    "text",
    [
        ONE,
        ' Two: <points x1="1.0" y1="2.0" x2="3.5" y2="4.5" x3="5.0" y3="6.0" alt="a">a</points>',
    ],
)
def test_an_answer_may_stop_at_its_last_wanted_point(text, draft):
    whole = scripted(text).ask(RGB, "Where?")
    for wanted in (1, 2):
        predictor = scripted(text)
        options = AskOptions(max_points=wanted, draft=draft)
        answer = predictor.ask(RGB, "Where?", options)
        assert whole.text.startswith(answer.text)
        assert [found.pixel for found in answer.found] == [
            found.pixel for found in whole.found[:wanted]
        ]
        if wanted <= len(whole.found):
            assert answer.text.endswith(f'{answer.points[-1].y}"')
            assert answer.usage.passes < whole.usage.passes or not draft


def test_an_answer_ends_at_its_deadline():
    predictor = scripted(ONE)
    stream = predictor.stream(RGB, "Where?", AskOptions(timeout_s=0.5))
    next(stream)
    time.sleep(0.6)
    with pytest.raises(TimeoutError, match=r"within 0\.5 s"):
        list(stream)
    assert predictor.runtime.calls == ["encode", "prefill"]
    assert predictor.ask(RGB, "Where?", AskOptions(timeout_s=60)).points


@pytest.mark.parametrize(("slow", "calls"), [("encode", 1), ("prefill", 2)])
def test_a_deadline_that_passes_before_the_first_token_ends_the_answer_there(slow, calls):
    predictor = scripted(ONE)
    run = getattr(predictor.runtime, slow)

    def run_slowly(*inputs):
        time.sleep(0.1)
        return run(*inputs)

    setattr(predictor.runtime, slow, run_slowly)
    with pytest.raises(TimeoutError, match=r"within 0\.05 s"):
        next(predictor.stream(RGB, "Where?", AskOptions(timeout_s=0.05)))
    assert predictor.runtime.calls == ["encode", "prefill"][:calls]
    assert predictor.ask(RGB, "Where?").points


def test_closing_the_stream_stops_decoding():
    predictor = scripted(ONE)
    stream = predictor.stream(RGB, "Where?")
    next(stream)
    stream.close()
    assert predictor.runtime.calls == ["encode", "prefill"]
    assert predictor.ask(RGB, "Where?").points


def test_an_answer_does_not_continue_on_the_cache_of_another_question():
    predictor = scripted(ONE)
    first = predictor.stream(RGB, "Where?")
    next(first)
    predictor.ask(RGB, "And there?")
    with pytest.raises(RuntimeError, match="another question"):
        list(first)


@pytest.mark.parametrize("prompt", ["", "  \n"])
def test_an_empty_prompt_is_refused_at_once(prompt):
    with pytest.raises(PromptError, match="empty"):
        scripted(ONE).stream(RGB, prompt)


@pytest.mark.parametrize(
    "rgb",
    [RGB[..., 0], RGB.astype(float), RGB[:0], RGB[:, :0], RGB[..., :2], np.zeros((4, 4, 4), "u1")],
)
def test_a_wrong_picture_is_refused_at_once(rgb):
    with pytest.raises(ValueError, match=r"\(H, W, 3\) uint8"):
        scripted(ONE).stream(rgb, "Where?")


def test_numbers_that_overflow_are_an_error_and_no_answer():
    predictor = scripted(ONE)
    predictor.runtime._logits[3, 7] = np.nan
    with pytest.raises(FloatingPointError, match="fp32"):
        predictor.ask(RGB, "Where?")


def test_no_tokens_at_all_cannot_be_asked_for():
    with pytest.raises(ValueError, match="max_new_tokens is 0"):
        AskOptions(max_new_tokens=0)
    for name in ("max_points", "max_crops"):
        with pytest.raises(ValueError, match=f"{name} is 0"):
            AskOptions(**{name: 0})


def test_fewer_crops_are_fewer_tokens_and_another_look_at_the_same_picture():
    predictor = scripted(ONE, capacity=4000)
    predictor.config = replace(
        predictor.config, crops=replace(predictor.config.crops, max_crops=4)
    )
    asked = (None, 1, None, 1)
    answers = [predictor.ask(RGB, "Where?", AskOptions(max_crops=n)) for n in asked]
    tokens = [answer.usage.prompt_tokens for answer in answers]
    assert tokens[1] < tokens[0]
    assert tokens[2:] == tokens[:2]
    assert predictor.runtime.calls.count("encode") == 2


def test_a_raw_prompt_is_read_without_the_chat_template():
    predictor = scripted(ONE)
    picture = 1 + len(prepare_image(RGB, predictor.config).tokens)
    answer = predictor.ask(RGB, "Where?", AskOptions(raw=True))
    assert answer.usage.prompt_tokens == picture + len("Where?")  # one token a byte


@pytest.mark.parametrize("shape", [(300, 400), (90, 500), (480, 200)])
def test_a_bundle_answers_as_the_reference_generates(shape):
    rgb = np.random.default_rng(shape[0]).integers(0, 256, (*shape, 3), np.uint8)
    predictor = molmo_engine.load(tiny_bundle(), threads=1)
    model = load_model(tiny_checkpoint())
    image = prepare_image(rgb, predictor.config)
    ids = predictor.prompter.encode("Point to the red cube.", image.tokens)
    batch = [torch.from_numpy(a)[None] for a in (ids, image.crops, image.masks, image.index)]
    tokens = generate(model, *batch, max_new_tokens=30, stop=predictor.prompter.stop_ids)
    *_, done = predictor.stream(rgb, "Point to the red cube.", AskOptions(max_new_tokens=30))
    assert isinstance(done, Done)
    words = [token for token in tokens[0].tolist() if token not in predictor.prompter.stop_ids]
    assert done.answer.text == predictor.prompter.decode(words).removeprefix(" ")
    assert done.answer.usage.answer_tokens == len(words)


def test_an_older_onnxruntime_runs_the_compat_graphs(monkeypatch):
    monkeypatch.setattr(ort_runtime.ort, "__version__", "1.24.4")
    predictor = molmo_engine.load(tiny_bundle())
    assert "compat" in predictor.engine_id
    answer = predictor.ask(RGB, "What?", AskOptions(max_new_tokens=5))
    monkeypatch.undo()
    again = molmo_engine.load(tiny_bundle()).ask(RGB, "What?", AskOptions(max_new_tokens=5))
    assert answer.text == again.text


def test_load_refuses_an_unknown_backend():
    with pytest.raises(ValueError, match=r"'cuda'.*auto.*onnxruntime"):
        molmo_engine.load(tiny_bundle(), backend="cuda")


def test_a_loaded_bundle_says_what_it_is():
    predictor = molmo_engine.load(tiny_bundle(), backend="onnxruntime")
    assert predictor.model_id.startswith("tiny-")
    assert "onnxruntime" in predictor.engine_id
    assert "fp32" in predictor.engine_id
    predictor.close()
