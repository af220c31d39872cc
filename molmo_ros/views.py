"""Draws named points into a picture, for people.

Knows nothing of ROS and nothing of 3-D: pixels and labels in, a picture out.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from molmo_engine.records import PointFound
from molmo_ros.convert import Rgb

Box = tuple[int, int, int, int]  # left, top, right, bottom

# Told apart from each other and from wood, metal and plastic; one per point, in turn.
COLOURS = ((255, 64, 160), (0, 220, 255), (255, 220, 0), (120, 255, 80), (255, 140, 0))
DARK = (16, 16, 16)
FONT = cv2.FONT_HERSHEY_SIMPLEX
CAPITAL_PX = 22.0  # height of the font at scale 1


def draw_points(
    rgb: Rgb, found: Sequence[PointFound], usable: Sequence[bool] | None = None
) -> Rgb:
    """A copy of (H, W, 3) RGB with a marker at every point and its number and label beside it.

    Labels that would cover each other move down; a line below each is as long, by the width of
    the label, as the model is sure of the point. usable: false where a gripper cannot go to a
    point, which is then crossed out.
    """
    picture = np.array(rgb, np.uint8, order="C")
    size = max(4, round(min(picture.shape[:2]) / 80))  # 6 pixels at 640x480
    taken: list[Box] = []
    for index, event in enumerate(found):
        colour = COLOURS[index % len(COLOURS)]
        u, v = (round(x) for x in event.pixel)
        _draw_marker(picture, (u, v), size, colour, usable is None or usable[index])
        label = f"{index + 1} {event.point.label}".rstrip()
        taken.append(_label_box(label, (u, v), size, picture.shape[:2], taken))
        _draw_label(picture, label, taken[-1], size, colour)
        _draw_confidence(picture, event.confidence, taken[-1], colour)
    return picture


def _draw_marker(
    picture: Rgb, at: tuple[int, int], size: int, colour: tuple[int, ...], is_usable: bool
) -> None:
    """A ring that leaves the point itself visible, dark outside for bright grounds; or a cross."""
    width = max(2, size // 3)
    for paint, brush in ((DARK, width + 2), (colour, width)):
        if is_usable:
            cv2.circle(picture, at, size, paint, brush, cv2.LINE_AA)
        else:
            cv2.drawMarker(picture, at, paint, cv2.MARKER_TILTED_CROSS, 2 * size, brush)


def _label_box(
    text: str, at: tuple[int, int], size: int, shape: tuple[int, int], taken: list[Box]
) -> Box:
    """Where a label goes: right of its marker or left of it, further down if that is taken."""
    (width, height), below = cv2.getTextSize(text, FONT, _scale(size), 1)
    width, height = width + size, height + below + size // 2
    rows, columns = shape
    left = at[0] + 2 * size
    if left + width > columns:
        left = at[0] - 2 * size - width
    left = max(0, min(left, columns - width))
    top = max(0, min(at[1] - height // 2, rows - height))
    while top + 2 * height <= rows and any(
        left < other[2] and other[0] < left + width and top < other[3] and other[1] < top + height
        for other in taken
    ):
        top += height
    return left, top, left + width, top + height


def _draw_label(picture: Rgb, text: str, box: Box, size: int, colour: tuple[int, ...]) -> None:
    _, below = cv2.getTextSize(text, FONT, _scale(size), 1)
    cv2.rectangle(picture, box[:2], box[2:], DARK, cv2.FILLED)
    origin = (box[0] + size // 2, box[3] - below)
    cv2.putText(picture, text, origin, FONT, _scale(size), colour, 1, cv2.LINE_AA)


def _draw_confidence(picture: Rgb, confidence: float, box: Box, colour: tuple[int, ...]) -> None:
    length = round(confidence * (box[2] - box[0]))
    picture[box[3] - 1 : box[3] + 1, box[0] : box[0] + length] = colour


def _scale(size: int) -> float:
    """Letters twice as high as a marker's radius."""
    return 2 * size / CAPITAL_PX
