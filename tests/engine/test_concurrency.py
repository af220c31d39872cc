"""What programs with threads rely on: nothing shared, nothing left, nobody blocked."""

from __future__ import annotations

import gc
import time
import weakref
from itertools import zip_longest
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from bundles import golden_bundle, tiny_bundle
from scripted import ONE, RGB, scripted

import molmo_engine
from molmo_engine.bundle import Bundle
from molmo_engine.ort_runtime import OrtRuntime
from molmo_engine.records import AskOptions, Done

BRIEF = AskOptions(max_new_tokens=12)
QUESTIONS = [(RGB, "Where?"), (RGB[::2], "Point to the mug."), (RGB, "Count the cups.")]


def counts() -> tuple[int, int]:
    """Threads and open files of this process."""
    return tuple(len(list(Path("/proc/self", what).iterdir())) for what in ("task", "fd"))


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")
def test_closing_frees_sessions_caches_threads_and_files():
    molmo_engine.load(tiny_bundle(), threads=2).close()  # what the library keeps for all
    before = counts()
    predictor = molmo_engine.load(tiny_bundle(), threads=2)
    predictor.ask(RGB, "Where?", BRIEF)
    assert counts() > before
    runtime = predictor.runtime
    held = [runtime._decoder, runtime._vision, runtime._embedding, *runtime._caches.values()]
    alive = [weakref.ref(one) for one in held]
    del held
    predictor.close()
    gc.collect()
    assert [ref() for ref in alive] == [None] * len(alive)
    assert predictor._frames.nbytes == 0
    assert counts() == before


def test_two_predictors_share_nothing_when_their_answers_interleave():
    wanted = [molmo_engine.load(tiny_bundle(), threads=1).ask(*q, BRIEF).text for q in QUESTIONS]
    predictors = [molmo_engine.load(tiny_bundle(), threads=1) for _ in QUESTIONS]
    pairs = zip(predictors, QUESTIONS, strict=True)
    streams = [predictor.stream(*question, BRIEF) for predictor, question in pairs]
    last = [None] * len(streams)
    for events in zip_longest(*streams):
        last = [event or before for event, before in zip(events, last, strict=True)]
    assert [done.answer.text for done in last] == wanted


def test_two_predictors_answer_in_two_threads():
    wanted = [molmo_engine.load(tiny_bundle(), threads=1).ask(*q, BRIEF).text for q in QUESTIONS]
    found = {}

    def work(name):
        predictor = molmo_engine.load(tiny_bundle(), threads=1)
        found[name] = [predictor.ask(*question, BRIEF).text for question in QUESTIONS * 3]

    threads = [Thread(target=work, args=(name,)) for name in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {0: wanted * 3, 1: wanted * 3}


def encode(runtime):
    crops = np.random.default_rng(0).random((13, 576, 588), np.float32)
    masks, index = np.ones((13, 576), np.float32), np.full((13, 144), -100)
    runtime.encode(crops, masks, index, 10)


def prefill(runtime):
    runtime.prefill(np.arange(2000) % 250, None)


@pytest.mark.parametrize("compute", [encode, prefill])
def test_other_threads_run_while_the_engine_computes(compute):
    runtime = OrtRuntime(Bundle.open(golden_bundle()), threads=1)
    span = []

    def work():
        span.append(time.perf_counter())
        compute(runtime)
        span.append(time.perf_counter())

    thread = Thread(target=work)
    thread.start()
    ticks = []
    while thread.is_alive():
        ticks.append(time.perf_counter())
        time.sleep(0)
    begin, end = span
    inside = [begin, *(tick for tick in ticks if begin < tick < end), end]
    assert np.diff(inside).max() < (end - begin) / 2


def test_a_cancelled_answer_takes_no_pass_after_the_token_that_was_seen():
    whole = [event for event in scripted(ONE).stream(RGB, "?") if not isinstance(event, Done)]
    for seen in range(1, len(whole)):
        predictor = scripted(ONE)
        stream = predictor.stream(RGB, "?")
        for _ in range(seen):
            next(stream)
        calls = list(predictor.runtime.calls)
        stream.close()
        assert predictor.runtime.calls == calls
        assert calls.count("step") < seen


def test_an_answer_does_not_go_on_when_its_predictor_is_closed():
    predictor = scripted(ONE)
    stream = predictor.stream(RGB, "Where?")
    next(stream)
    predictor.close()
    with pytest.raises(RuntimeError, match="closed"):
        next(stream)
