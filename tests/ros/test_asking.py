"""One question at a time, with a scripted engine: what no healthy engine can be made to do."""

from __future__ import annotations

import time
from itertools import repeat

import numpy as np
import pytest
from speaker import NOW_S, Scripted, eyes

from molmo_engine.records import Answer, Done, PointFound, Token
from molmo_model.points import Point
from molmo_ros import asking, msg
from molmo_ros.ending import Ending
from molmo_ros.eyes import Needs
from molmo_ros.modes import Mode
from molmo_ros.parameters import Parameters


def ask(
    predictor,
    eyes=None,
    prompt="Where?",
    timeout_s=5.0,
    is_cancelled=lambda: False,
    mode=Mode.ANSWER,
    **limits,
):
    question = asking.Question(
        request_id="1", prompt=prompt, mode=mode, timeout_s=timeout_s, is_cancelled=is_cancelled
    )
    seen = []
    parameters = Parameters(**{"frame_wait_s": 0.05, **limits})
    reply = asking.answer(
        question, predictor, eyes, parameters, lambda reply: seen.append(reply.text)
    )
    return reply, seen


def done(text: str, *found: PointFound) -> Done:
    return Done(Answer(text=text, found=found))


POINT = PointFound(Point(50.0, 50.0, ""), (2.5, 1.5), 0.9)
LABELLED = PointFound(Point(50.0, 50.0, "mug"), (2.5, 1.5), 0.9)


def test_the_endings_are_those_of_the_message():
    numbers = {name: getattr(msg.Answer, name) for name in Ending.__members__}
    assert numbers == {ending.name: ending.value for ending in Ending}


def test_text_grows_and_points_get_their_final_label():
    script = [Token(" a"), POINT, Token(" mug"), done("a mug", LABELLED)]
    reply, seen = ask(Scripted(script), eyes(0.1))
    assert (reply.ending, reply.text, seen) == (Ending.OK, "a mug", ["a", "a", "a mug", "a mug"])
    assert [located.found.point.label for located in reply.points] == ["mug"]


def test_an_answer_without_points_says_so():
    reply, _ = ask(Scripted([done("There are none.")]), eyes(0.1))
    assert reply.ending is Ending.NO_POINT


def test_an_engine_that_raises_costs_its_question_and_keeps_what_was_said():
    engine = Scripted([Token("half"), RuntimeError("out of memory")])
    reply, _ = ask(engine, eyes(0.1))
    assert (reply.ending, reply.text) == (Ending.ENGINE_ERROR, "half")
    assert reply.message == "RuntimeError: out of memory"


@pytest.mark.parametrize(
    ("limits", "ending"),
    [
        ({"is_cancelled": lambda: True}, Ending.CANCELED),
        ({"timeout_s": 0.1}, Ending.TIMEOUT),
    ],
)
def test_waiting_for_a_frame_ends_with_the_question(limits, ending):
    start_s = time.monotonic()
    reply, _ = ask(Scripted(), eyes(), frame_wait_s=30.0, **limits)
    assert reply.ending is ending
    assert time.monotonic() - start_s < 5.0  # far below the patience of 30 s


def test_an_endless_answer_ends_at_the_deadline_and_closes_the_engine():
    engine = Scripted(repeat(Token("on ")))
    reply, _ = ask(engine, eyes(0.1), timeout_s=0.1)
    assert (reply.ending, engine.closed) == (Ending.TIMEOUT, True)
    assert reply.text.startswith("on on")


@pytest.mark.parametrize(
    ("age_s", "word"), [(3.0, "3.00 s old"), (-3.0, "-3.00 s old"), (NOW_S, "no stamp")]
)
def test_an_image_far_from_now_is_stale_in_both_directions(age_s, word):
    reply, _ = ask(Scripted(), eyes(age_s), max_frame_age_s=1.0)
    assert reply.ending is Ending.STALE_FRAME
    assert word in reply.message


def test_any_age_will_do_where_the_limit_is_off():
    engine = Scripted([done("yes")])
    assert ask(engine, eyes(1e6), max_frame_age_s=0.0)[0].text == "yes"


def test_depth_that_is_published_but_never_comes_is_not_waited_for_forever():
    engine = Scripted([POINT, done("here", POINT)])
    reply, _ = ask(engine, eyes(0.1, needs=Needs(depth=True)))
    assert reply.ending is Ending.OK
    assert np.isnan(reply.points[0].location.position).all()
    assert any("no depth image" in note for note in reply.view.notes)


def test_a_question_whose_place_was_taken_says_so():
    question = asking.Question(
        request_id="1", prompt="Where?", timeout_s=5.0, is_cancelled=lambda: False
    )
    question.replaced.set()
    reply = asking.answer(question, Scripted(), eyes(0.1), Parameters(), lambda reply: None)
    assert reply.ending is Ending.REPLACED


def test_the_mode_and_the_crops_reach_the_model():
    heard = {}

    class Listening(Scripted):
        def stream(self, rgb, prompt, options):
            heard.update(prompt=prompt, options=options)
            return super().stream(rgb, prompt, options)

    ask(Listening([done("")]), eyes(0.1), prompt="the mug", mode=Mode.POINT, max_crops=3)
    assert (heard["prompt"], heard["options"].max_crops) == ("Point to the mug.", 3)
    assert not heard["options"].raw
    ask(Listening([done("")]), eyes(0.1), prompt="the mug", mode=Mode.RAW)
    assert (heard["prompt"], heard["options"].raw) == ("the mug", True)
    assert heard["options"].max_crops is None
