"""Intervals: against hand-computed numbers, and as often right as they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from molmo_training.intervals import paired, share


def test_a_share_has_wilsons_interval():
    estimate = share([1.0] * 8 + [0.0] * 2)
    # (0.8 + 3.8415 / 20 -+ 1.96 * sqrt(0.16 / 10 + 3.8415 / 400)) / (1 + 3.8415 / 10)
    assert (estimate.low, estimate.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert (estimate.mean, estimate.n) == (0.8, 10)


def test_a_difference_has_bonetts_and_prices_interval():
    estimate = paired([1.0] * 6 + [-1.0] * 2 + [0.0] * 12)
    # (6 - 2) / 22 -+ 1.96 * sqrt(6 + 2 + 2 - 16 / 22) / 22
    assert (estimate.low, estimate.high) == pytest.approx((-0.0895, 0.4531), abs=1e-4)
    assert (estimate.mean, estimate.n) == (0.2, 20)


def test_agreement_on_a_few_examples_proves_little():
    assert share([1.0] * 5).low < 0.6
    assert paired([0.0] * 5).high > 0.25


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_an_interval_holds_its_mean_and_stays_in_its_limits(values):
    estimate = share(values)
    assert 0 <= estimate.low <= estimate.mean + 1e-12
    assert estimate.mean - 1e-12 <= estimate.high <= 1
    difference = paired([value - 0.5 for value in values])
    assert -1 <= difference.low <= difference.high <= 1


@pytest.mark.parametrize("n", [20, 200])
def test_the_intervals_hold_the_truth_as_often_as_they_say(n):
    rng = np.random.default_rng(0)
    one, other = 0.8, 0.7  # shares of right answers; an example is as hard for both
    hardness = rng.random((1000, n))
    pairs = [((row < one).astype(float), (row < other).astype(float)) for row in hardness]
    shares = [share(a.tolist()) for a, _ in pairs]
    differences = [paired((a - b).tolist()) for a, b in pairs]
    held = np.mean([estimate.low <= one <= estimate.high for estimate in shares])
    held_pairs = np.mean([e.low <= one - other <= e.high for e in differences])
    assert held >= 0.93  # 95 % but for the steps of small counts and 1000 draws
    assert held_pairs >= 0.93
