"""Draws a watch face with hands: case, ticks, numerals, a window for the date, hands.

All lengths are in radii of the face. Knows the time and the style; not where they come from.
"""

from __future__ import annotations

import numpy as np

from molmo_training.clock_canvas import (
    Canvas,
    Colour,
    Floats,
    Pair,
    at,
    bar,
    regular,
    rounded,
    turned_corners,
)
from molmo_training.clock_style import Style
from molmo_training.clock_time import ClockTime

ROMAN = ("XII", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI")
HOUR_HAND, MINUTE_HAND, SECOND_HAND = 0.52, 0.8, 0.86  # their lengths
_EDGE = 1.02  # the face is a little larger than its ticks
_BEZEL = 0.09
_WINDOWS = 0.42  # how far from the middle


def draw_face(canvas: Canvas, time: ClockTime, style: Style) -> None:
    """The whole watch, with as many hands as it shows parts of the time."""
    draw_case(canvas, style)
    _draw_ticks(canvas, style)
    _draw_numerals(canvas, style)
    _draw_windows(canvas, time, style)
    _draw_hands(canvas, time, style)


def draw_case(canvas: Canvas, style: Style) -> None:
    """Strap, case and the empty face."""
    if style.has_strap:
        canvas.shape(rounded(0.5, 1.9, 0.05), style.strap, is_case=True)
    canvas.shape(_body(style.shape, _EDGE + _BEZEL), style.case, is_case=True)
    canvas.outline(_body(style.shape, _EDGE + _BEZEL), 0.02, shaded(style.case, 0.7))
    canvas.shape(_body(style.shape, _EDGE), style.face)
    canvas.outline(_body(style.shape, _EDGE), 0.015, shaded(style.case, 0.55))


def shaded(colour: Colour, share: float) -> Colour:
    """A darker colour."""
    red, green, blue = (round(part * share) for part in colour)
    return red, green, blue


def _body(shape: str, size: float) -> Floats:
    """The outline of a watch whose face reaches from -size to size."""
    if shape == "square":
        return rounded(size, size, 0.12)
    if shape == "cushion":
        return rounded(size, size, 0.45)
    if shape == "tall":
        return rounded(size, 1.18 * size, 0.3)
    if shape == "octagon":
        return regular(8, 1.08 * size, 22.5)
    return regular(240, size)


def _draw_ticks(canvas: Canvas, style: Style) -> None:
    if style.ticks == "railway":
        for radius in (0.93, 0.99):
            canvas.outline(regular(240, radius), 0.008, style.ink)
    for minute in range(60):
        is_hour = minute % 5 == 0
        angle = 6.0 * minute
        if style.ticks == "dots":
            if is_hour:
                canvas.shape(regular(24, 0.03) + at(angle, 0.95), style.ink)
        elif style.ticks == "bars":
            if is_hour:
                canvas.shape(bar(angle, 0.86, 0.98, 0.035), style.ink)
        elif style.ticks in ("track", "railway"):
            inner = 0.9 if is_hour else 0.93
            canvas.shape(bar(angle, inner, 0.99, 0.03 if is_hour else 0.012), style.ink)


def _draw_numerals(canvas: Canvas, style: Style) -> None:
    """Around the hours; "minutes" writes 5, 10, ... 60."""
    if style.numerals == "none":
        return
    step = 3 if "quarters" in style.numerals else 1
    for hour in range(0, 12, step):
        if style.numerals.startswith("roman"):
            words = ROMAN[hour]
        else:
            words = str((hour or 12) * (5 if style.numerals == "minutes" else 1))
        height = 0.19 if step == 3 else 0.15
        angle = 30.0 * hour
        turn = (angle if not 90 < angle < 270 else angle - 180) if style.is_radial else 0.0
        canvas.text(words, at(angle, 0.73), height, style.ink, style.font, turn)


def _draw_windows(canvas: Canvas, time: ClockTime, style: Style) -> None:
    """Small windows with the date and with AM or PM, where no numeral stands."""
    if style.has_date and time.date is not None:
        _draw_window(canvas, at(90, _WINDOWS), str(time.date.day), style)
    if time.period:
        angle = max((180.0, 270.0, 0.0), key=lambda angle: _free_deg(angle, time))
        _draw_window(canvas, at(angle, _WINDOWS), time.period, style)


def _free_deg(angle_deg: float, time: ClockTime) -> float:
    """How far the nearest wide hand is: what tells the time of day must not lie under one."""
    hands = [hand for hand in (time.hour_angle_deg, time.minute_angle_deg) if hand is not None]
    return min((abs((hand - angle_deg + 180) % 360 - 180) for hand in hands), default=180.0)


def _draw_window(canvas: Canvas, middle: Pair, words: str, style: Style) -> None:
    frame = rounded(0.15, 0.09, 0.02) + middle
    canvas.shape(frame, style.ink)
    canvas.text(words, middle, 0.1, style.face)


def _draw_hands(canvas: Canvas, time: ClockTime, style: Style) -> None:
    width = style.hand_width
    parts = (
        (time.hour_angle_deg, HOUR_HAND, width),
        (time.minute_angle_deg, MINUTE_HAND, 0.7 * width),
    )
    for angle, length, wide in parts:
        if angle is not None:
            _draw_hand(canvas, angle, length, wide, style)
    if time.second_angle_deg is not None:
        turned = time.second_angle_deg
        canvas.shape(bar(turned, -0.2, SECOND_HAND, 0.018), style.second)
        canvas.shape(regular(40, 0.045), style.second)
    elif time.hour_angle_deg is not None:
        canvas.shape(regular(40, 0.6 * width), style.hand)


def _draw_hand(
    canvas: Canvas, angle_deg: float, length: float, width: float, style: Style
) -> None:
    """A hand with a darker edge, by which hands upon each other are told apart."""
    for corners in hand_shapes(style.hands, length, width):
        there = turned_corners(corners, angle_deg)
        canvas.shape(there, style.hand)
        canvas.outline(there, 0.006, shaded(style.hand, 0.8))
    if style.hands == "skeleton":
        inner = np.array([(-0.25 * width, 0.2), (0, 0.85 * length), (0.25 * width, 0.2)])
        canvas.shape(turned_corners(inner, angle_deg), style.face)


def hand_shapes(kind: str, length: float, width: float) -> list[Floats]:
    """The parts of a hand that points to twelve, each (N, 2)."""
    half, tail = width / 2, -0.12
    if kind == "dauphine":
        return [np.array([(0, tail), (-half, 0.1), (0, length), (half, 0.1)])]
    if kind == "sword":
        wide = 0.6 * length
        edge = [(-0.3 * half, tail), (-half, wide), (0, length), (half, wide), (0.3 * half, tail)]
        return [np.array(edge)]
    if kind == "arrow":
        tip = length - 0.16
        head = np.array([(-1.1 * width, tip), (0, length), (1.1 * width, tip)])
        return [bar(0, tail, tip + 0.01, 0.6 * width), head]
    if kind == "pear":
        body = np.array([(-0.3 * half, tail), (0, length), (0.3 * half, tail)])
        return [body, regular(40, 0.9 * width) + (0.0, 0.7 * length)]
    if kind == "needle":
        return [np.array([(-0.5 * half, tail), (0, length), (0.5 * half, tail)])]
    if kind == "skeleton":
        return [np.array([(-half, tail), (-half, 0.1), (0, length), (half, 0.1), (half, tail)])]
    return [bar(0, tail, length, width)]
