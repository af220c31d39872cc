"""What is counted of a stream, with a clock that the test turns."""

import numpy as np
import pytest

from molmo_ros import statistics
from molmo_ros.statistics import WINDOW_S, Statistics, offset_ms

MS = 1_000_000  # nanoseconds


@pytest.fixture
def clock(monkeypatch):
    """Time is clock[0], seconds."""
    now_s = [50.0]
    monkeypatch.setattr(statistics, "monotonic", lambda: now_s[0])
    return now_s


def noted(clock, count, period_s=0.1):
    """Statistics of messages that came evenly until now."""
    counted = Statistics()
    for number in range(count):
        clock[0] += period_s
        counted.note((number + 1) * MS)
    return counted


def test_a_stream_that_never_was_is_silent_since_listening_began(clock):
    counted = Statistics()
    clock[0] += 2.0
    assert (counted.received, counted.stamp_ns, counted.rate_hz()) == (0, 0, 0.0)
    assert counted.silent_s() == counted.longest_gap_s() == pytest.approx(2.0)


@pytest.mark.parametrize("period_s", [0.01, 0.1, 1.0])
def test_the_rate_is_that_of_the_last_seconds(clock, period_s):
    counted = noted(clock, 400, period_s)
    assert counted.rate_hz() == pytest.approx(1 / period_s)
    assert (counted.received, counted.stamp_ns) == (400, 400 * MS)


def test_a_stream_that_ended_has_no_rate(clock):
    counted = noted(clock, 20)
    clock[0] += WINDOW_S + 0.1
    assert counted.rate_hz() == 0.0
    assert counted.silent_s() == counted.longest_gap_s() == pytest.approx(WINDOW_S + 0.1)


def test_the_longest_gap_may_be_over_or_still_last(clock):
    counted = noted(clock, 10)
    clock[0] += 0.4
    counted.note(1)
    clock[0] += 0.2
    assert counted.longest_gap_s() == pytest.approx(0.4)
    clock[0] += 0.5
    assert counted.longest_gap_s() == pytest.approx(0.7)


def test_stamps_that_are_none_are_left_out(clock):
    counted = noted(clock, 2)
    counted.note(0)
    assert counted.stamps_ns().tolist() == [1 * MS, 2 * MS]
    assert counted.stamp_ns == 0


def stamps(period_ms, count=60, start_ms=1000.0):
    return ((start_ms + period_ms * np.arange(count)) * MS).astype(np.int64)


@pytest.mark.parametrize("late_ms", [0.0, 7.0, -7.0])
@pytest.mark.parametrize(("image_ms", "depth_ms"), [(33.0, 33.0), (33.0, 66.0), (66.0, 33.0)])
def test_the_offset_is_how_much_later_depth_is_stamped(image_ms, depth_ms, late_ms):
    depths_ns = stamps(depth_ms) + round(late_ms * MS)
    assert offset_ms(stamps(image_ms), depths_ns) == pytest.approx(late_ms)


def test_without_one_of_the_two_there_is_no_offset():
    assert np.isnan(offset_ms(stamps(33.0), stamps(33.0, count=0)))
    assert np.isnan(offset_ms(stamps(33.0, count=0), stamps(33.0)))
