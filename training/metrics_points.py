"""Scores the points of an answer against those wanted, one to one.

Percent of the picture in, shares in [0, 1] out. Knows no models; never raises on any text.

N predicted points, M targets, H and W the picture's sides in pixels
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from molmo_model.points import parse_points

Spot = tuple[float, float]  # x, y in percent of the picture's width and height
Floats = npt.NDArray[np.float64]
Masks = npt.NDArray[np.bool_]

_NUMBER = r"\s*[0-9]+(?:\.[0-9]+)?"
_LABEL = r'alt="(?:(?!</?points?\b).)*'  # and the text inside; nothing is escaped in a label
_PAIR = rf"\({_NUMBER},? ?{_NUMBER}\)"
_THOUSANDTHS = r"[0-9p]=[0-9]{3},[0-9]{3}"
_POINTS_ALONE = re.compile(
    rf'<point x="{_NUMBER}" y="{_NUMBER}" {_LABEL}</point>'
    rf'|<points(?: x[0-9]+="{_NUMBER}" y[0-9]+="{_NUMBER}")+ {_LABEL}</points>'
    rf"|{_PAIR}(?:\n{_PAIR})*|{_THOUSANDTHS}(?:\n{_THOUSANDTHS})*"
)


def is_point_text(text: str) -> bool:
    """Whether an answer is one tag with points, or a list of points alone: nothing around it."""
    return _POINTS_ALONE.fullmatch(text.strip()) is not None


def mask_scores(text: str, targets: Sequence[Spot], masks: Masks) -> dict[str, float]:
    """Precision, recall and F1 of pointing at things whose outlines are known.

    A point hits its target if the pixel nearest to it lies in that target's mask. An answer that
    is more than its points scores 0 where there is something; where there is nothing, any answer
    without points scores 1.

    targets: M points in percent; masks: (M, H, W)
    """
    spots = _spots(text)
    if not targets or not spots or not is_point_text(text):
        return _shares(float(not targets and not spots), 1, 1)
    height, width = masks.shape[1:]
    predicted = _pixels(spots, width, height)
    columns, rows = np.rint(predicted).astype(np.int64).T
    inside = masks[:, np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)].T
    return _matched(predicted, _pixels(targets, width, height), inside)


def near_scores(
    text: str, targets: Sequence[Spot], size: tuple[int, int], near: float
) -> dict[str, float]:
    """Precision, recall and F1 where only one point of each thing is known.

    A point hits its target within `near` of the picture's width. What stands around the points
    does not matter: a robot reads them all the same.

    targets: M points in percent; size: (W, H)
    """
    spots = _spots(text)
    if not targets or not spots:
        return _shares(float(not targets and not spots), 1, 1)
    predicted, wanted = _pixels(spots, *size), _pixels(targets, *size)
    return _matched(predicted, wanted, _distances(predicted, wanted) <= near * size[0])


def _matched(predicted: Floats, targets: Floats, hits: Masks) -> dict[str, float]:
    """Pairs points and targets by the least total distance; counts the pairs that hit.

    predicted: (N, 2) pixels; targets: (M, 2) pixels; hits: (N, M), whether that would be a hit
    """
    from scipy.optimize import linear_sum_assignment  # here, so that all else runs without it

    pairs = linear_sum_assignment(_distances(predicted, targets))
    return _shares(float(hits[pairs].sum()), len(predicted), len(targets))


def _shares(hits: float, predicted: int, targets: int) -> dict[str, float]:
    f1 = 2 * hits / (predicted + targets)
    return {"f1": f1, "precision": hits / predicted, "recall": hits / targets}


def _distances(predicted: Floats, targets: Floats) -> Floats:
    """(N, 2), (M, 2) -> (N, M)."""
    return np.linalg.norm(predicted[:, None] - targets[None], axis=-1)


def _spots(text: str) -> list[Spot]:
    return [(point.x, point.y) for point in parse_points(text)]


def _pixels(spots: Sequence[Spot], width: int, height: int) -> Floats:
    """(N, 2), counted from the picture's edges."""
    return np.asarray(spots, np.float64).reshape(-1, 2) / 100 * (width, height)
