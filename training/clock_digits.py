"""Draws a watch that shows the time in digits, of seven segments or as letters.

All lengths are in radii of the face. Knows the time and the style; not where they come from.
"""

from __future__ import annotations

import cv2
import numpy as np

from molmo_training.clock_canvas import Canvas, Mask, written
from molmo_training.clock_faces import draw_case
from molmo_training.clock_style import Style
from molmo_training.clock_time import ClockTime

# Which of the segments are lit: top, upper left, upper right, middle, lower left, lower right,
# bottom.
SEGMENTS = {
    "0": "1110111",
    "1": "0010010",
    "2": "1011101",
    "3": "1011011",
    "4": "0111010",
    "5": "1101011",
    "6": "1101111",
    "7": "1010010",
    "8": "1111111",
    "9": "1111011",
}
WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
_WIDTH = 1.5  # of the line with the time: what fits into a round face


def draw_display(canvas: Canvas, time: ClockTime, style: Style) -> None:
    """The whole watch; what it does not show stays dark."""
    draw_case(canvas, style)
    hour, minute, second = digits_of(time, is_24h=style.is_24h)
    if style.digital == "stacked":
        _draw_line(canvas, hour, (0.0, 0.34), 0.5, style)
        _draw_line(canvas, minute, (0.0, -0.3), 0.5, style)
        _draw_line(canvas, second, (0.0, -0.76), 0.16, style)
    else:
        words = ":".join(part for part in (hour, minute, second) if part)
        _draw_line(canvas, words, (0.0, 0.0), 0.46, style)
    if time.period and not style.is_24h:
        canvas.text(time.period, (0.62, 0.42), 0.13, style.ink)
    if style.has_date and time.date is not None:
        words = f"{WEEKDAYS[time.date.weekday()]} {time.date.day}"
        canvas.text(words, (-0.05, 0.72), 0.13, style.ink)


def digits_of(time: ClockTime, *, is_24h: bool) -> tuple[str, str, str]:
    """Hour, minute and second as shown, empty where they are not; 24 hours only if they count."""
    hour = ""
    if time.hour is not None:
        counts_on = is_24h and time.has_period
        hour = f"{time.hour:02d}" if counts_on else str(time.hour % 12 or 12)
    minute, second = ("" if p is None else f"{p:02d}" for p in (time.minute, time.second))
    return hour, minute, second


def segments(words: str, height_px: int) -> Mask:
    """Digits and colons of seven segments each, (h, w)."""
    thick = max(2, height_px // 8)
    across, gap = round(0.55 * height_px), max(2, round(0.16 * height_px))
    widths = [thick if one == ":" else across for one in words]
    mask = np.zeros((height_px, sum(widths) + gap * max(0, len(words) - 1)), np.uint8)
    left = 0
    for one, width in zip(words, widths, strict=True):
        _light(mask[:, left : left + width], one, thick)
        left += width + gap
    return mask


def _light(cell: Mask, one: str, thick: int) -> None:
    """Lights a digit, or a colon's two dots, in its cell."""
    h, w = cell.shape
    if one == ":":
        for y in (h // 3, 2 * h // 3):
            cell[y - thick // 2 : y + thick - thick // 2] = 255
        return
    middle, slit = h // 2, max(1, thick // 5)  # segments do not touch
    flat, upper, lower = (
        slice(slit, w - slit),
        slice(slit, middle - slit),
        slice(middle + slit, -slit),
    )
    half = thick // 2
    places = (
        (slice(0, thick), flat),
        (upper, slice(0, thick)),
        (upper, slice(w - thick, w)),
        (slice(middle - half, middle - half + thick), flat),
        (lower, slice(0, thick)),
        (lower, slice(w - thick, w)),
        (slice(h - thick, h), flat),
    )
    for lit, place in zip(SEGMENTS[one], places, strict=True):
        if lit == "1":
            cell[place] = 255


def _draw_line(
    canvas: Canvas, words: str, middle: tuple[float, float], height: float, style: Style
) -> None:
    """Words as high as wanted, or as wide as fits."""
    if not words:
        return
    height_px = max(8, round(height * canvas.radius_px))
    if style.digital == "segments":
        mask = segments(words, height_px)
    else:
        mask = written(words, style.font, height_px)
    fits = _WIDTH * canvas.radius_px / mask.shape[1]
    if fits < 1:
        size = (max(1, round(mask.shape[1] * fits)), max(1, round(mask.shape[0] * fits)))
        mask = np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_AREA), np.uint8)
    canvas.stamp(mask, middle, style.hand)
