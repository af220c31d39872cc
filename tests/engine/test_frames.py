"""A picture that was asked about is not looked at again, and the answers stay the same."""

from __future__ import annotations

import numpy as np
import pytest
from bundles import tiny_bundle, tiny_checkpoint
from scripted import ONE, RGB, scripted

import molmo_engine
from molmo_engine.bundle import Bundle
from molmo_engine.frames import Frames, Seen, fingerprint
from molmo_engine.ort_runtime import OrtRuntime, dialects_here
from molmo_engine.predictor import Predictor
from molmo_engine.records import AskOptions
from molmo_model.image import prepare_image
from molmo_model.torch_runtime import TorchRuntime

BRIEF = AskOptions(max_new_tokens=12)
RUNTIMES = [*dialects_here(), "torch"]


def predictor_over(name: str, **settings) -> Predictor:
    loaded = molmo_engine.load(tiny_bundle(), threads=1)
    if name == "torch":
        runtime = TorchRuntime.from_checkpoint(tiny_checkpoint())
    else:
        runtime = OrtRuntime(Bundle.open(tiny_bundle()), threads=1, dialect=name)
    return Predictor(runtime, loaded.prompter, loaded.config, model_id="tiny", **settings)


@pytest.mark.parametrize("name", RUNTIMES)
def test_answers_about_remembered_pictures_are_those_of_a_first_look(name):
    remembering, plain = predictor_over(name), predictor_over(name, frame_cache_mb=0)
    pictures = [RGB, RGB[::2], RGB.copy(), RGB, RGB[::2, ::-1]]
    prompts = ["Where?", "Point to the mug.", "Count all the many cups!", "Hm?", "Where?"]
    for rgb, prompt in zip(pictures, prompts, strict=True):
        found, wanted = (one.ask(rgb, prompt, BRIEF) for one in (remembering, plain))
        assert found.text == wanted.text
        assert found.usage == wanted.usage


@pytest.mark.parametrize("name", RUNTIMES)
def test_rows_that_were_saved_stand_for_the_tokens_they_were_read_from(name):
    runtime = predictor_over(name).runtime
    whole = np.random.default_rng(0).integers(0, 250, 40)
    wanted = runtime.prefill(whole, None).copy()
    saved = runtime.save(30)
    runtime.prefill(whole[::-1].copy(), None)
    found = runtime.prefill(whole[30:], None, saved)
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())


def test_a_second_question_needs_no_vision_and_no_picture_tokens():
    predictor = scripted(ONE)
    first = predictor.ask(RGB, "Where?")
    second = predictor.ask(RGB.copy(), "And there?")
    assert predictor.runtime.calls.count("encode") == 1
    assert second.timings.vision_ms == 0 < first.timings.vision_ms
    assert second.points == first.points
    image = prepare_image(RGB, predictor.config)
    expected = predictor.prompter.encode("And there?", image.tokens)
    assert second.usage.prompt_tokens == len(expected)


def test_without_room_every_question_looks_again():
    predictor = scripted(ONE, frame_cache_mb=0)
    predictor.ask(RGB, "Where?")
    predictor.ask(RGB, "Where?")
    assert predictor.runtime.calls.count("encode") == 2


@pytest.mark.parametrize(("frame_cache_mb", "looks"), [(0, 2), (8, 1)])
def test_loading_says_how_much_is_remembered(frame_cache_mb, looks):
    predictor = molmo_engine.load(tiny_bundle(), threads=1, frame_cache_mb=frame_cache_mb)
    answers = [predictor.ask(RGB, "Where?", BRIEF) for _ in range(2)]
    assert sum(answer.timings.vision_ms > 0 for answer in answers) == looks
    predictor.close()


def test_the_picture_asked_about_longest_ago_goes_first():
    frames = Frames(3000)
    for key in (b"a", b"b", b"c"):
        frames.keep(key, seen(1000))
    frames.find(b"a")
    frames.keep(b"d", seen(1000))
    assert frames.find(b"b") is None
    assert all(frames.find(key) for key in (b"a", b"c", b"d"))
    assert frames.nbytes == 3000


def test_what_is_larger_than_the_room_is_not_kept():
    frames = Frames(3000)
    frames.keep(b"a", seen(1000))
    frames.keep(b"b", seen(3001))
    assert frames.find(b"b") is None
    assert frames.nbytes <= 3000


def test_keeping_a_picture_twice_counts_once():
    frames = Frames(3000)
    frames.keep(b"a", seen(2000))
    frames.keep(b"a", seen(2500))
    assert frames.nbytes == 2500


def test_only_equal_pictures_have_equal_fingerprints():
    other = RGB.copy()
    other[-1, -1, -1] ^= 1
    assert fingerprint(RGB) == fingerprint(np.asfortranarray(RGB))
    different = [RGB, other, RGB.reshape(400, 300, 3), RGB[::-1], RGB[:, ::-1]]
    assert len({fingerprint(rgb) for rgb in different}) == len(different)


def seen(size: int) -> Seen:
    return Seen(np.zeros(3, np.int64), np.zeros(size, np.uint8))
