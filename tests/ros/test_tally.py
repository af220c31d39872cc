import math

import pytest

from molmo_ros.asking import Question, ended
from molmo_ros.ending import Ending
from molmo_ros.tally import RECENT, Tally


def reply(ending: Ending, *, total_ms: float = 1.0, first_ms: float = math.nan, message: str = ""):
    """A question that ended like this."""
    question = Question(request_id="1", prompt="Where?", timeout_s=1.0, is_cancelled=lambda: False)
    said = ended(question, ending, message)
    said.total_ms, said.first_waypoint_ms = total_ms, first_ms
    return said


def test_endings_are_counted_and_times_are_those_of_answers():
    tally = Tally()
    for total_ms in range(1, 101):
        tally.note(reply(Ending.OK, total_ms=total_ms, first_ms=total_ms / 10))
    tally.note(reply(Ending.NO_POINT, total_ms=101))
    tally.note(reply(Ending.TIMEOUT, total_ms=1e6))
    report = tally.report()
    assert report.ended == {Ending.OK: 100, Ending.NO_POINT: 1, Ending.TIMEOUT: 1}
    assert report.total_ms == pytest.approx((51.5, 96.05))  # of 2 to 101: the last hundred
    assert report.first_ms == pytest.approx((5.05, 9.505))
    assert RECENT == 100


def test_nothing_is_known_before_the_first_answer():
    report = Tally().report()
    assert all(math.isnan(value) for value in report.total_ms + report.first_ms)
    assert (report.complaint, report.ended) == ("", {})
    assert math.isinf(report.complaint_s)


def test_the_last_complaint_is_kept_until_something_is_answered():
    tally = Tally()
    tally.note(reply(Ending.ENGINE_ERROR, message="out of memory"))
    tally.note(reply(Ending.CANCELED, message="the client's wish is no complaint"))
    report = tally.report()
    assert (report.complaint, report.answered_since) == ("ENGINE_ERROR: out of memory", False)
    assert 0 <= report.complaint_s < 60
    tally.note(reply(Ending.OK))
    assert tally.report().answered_since
