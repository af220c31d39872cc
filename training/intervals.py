"""How far a mean over a sample may be from the truth: 95 % intervals in closed form.

Plain numbers, no random draws. Neither interval shrinks to a point when all examples agree, as a
bootstrap would: twenty right answers of twenty are no proof of perfection.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Z = 1.959964  # of the normal distribution, 95 %


@dataclass(frozen=True)
class Estimate:
    """A mean of n values and the interval that holds the true mean 95 times in 100."""

    mean: float
    low: float
    high: float
    n: int


def share(values: Sequence[float]) -> Estimate:
    """The mean of scores in [0, 1], with Wilson's interval.

    Scores between 0 and 1 vary less than right and wrong do, so for them it is rather too wide.
    """
    n = len(values)
    mean = math.fsum(values) / n
    shrink = 1 + Z * Z / n
    centre = (mean + Z * Z / (2 * n)) / shrink
    half = Z / shrink * math.sqrt(max(mean * (1 - mean), 0) / n + (Z / (2 * n)) ** 2)
    return Estimate(mean, max(centre - half, 0.0), min(centre + half, 1.0), n)


def paired(differences: Sequence[float]) -> Estimate:
    """The mean difference of two scores of the same examples, each in [-1, 1].

    Bonett's and Price's interval: that of the mean with one example more won and one more lost,
    so that it is honest for few examples and few differences.
    """
    n = len(differences)
    total, squares = math.fsum(differences), math.fsum(d * d for d in differences)
    centre = total / (n + 2)
    spread = max(squares + 2 - total * total / (n + 2), 0)
    half = Z * math.sqrt(spread) / (n + 2)
    return Estimate(total / n, max(centre - half, -1.0), min(centre + half, 1.0), n)
