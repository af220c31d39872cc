"""A square canvas for drawing clocks in units of their radius: x right, y up, centre (0, 0).

Edges are smooth. Angles are degrees clockwise from twelve. Knows nothing of clocks.

N corners, S side in pixels
"""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from molmo_model.pictures import Rgb

Colour = tuple[int, int, int]  # red, green, blue
Pair = tuple[float, float]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.uint8]
Font = Literal["sans", "plain", "bold", "serif", "heavy serif"]
FONTS: tuple[Font, ...] = ("sans", "plain", "bold", "serif", "heavy serif")
RADIUS = 0.36  # of a clock, as a share of the side: the rest is for case and strap
_SHIFT = 6  # bits behind the point of cv2's coordinates
_STROKES = {
    "plain": cv2.FONT_HERSHEY_SIMPLEX,
    "bold": cv2.FONT_HERSHEY_DUPLEX,
    "serif": cv2.FONT_HERSHEY_COMPLEX,
    "heavy serif": cv2.FONT_HERSHEY_TRIPLEX,
}


class Canvas:
    """Colours, and where the clock is: around it lies no background."""

    def __init__(self, side: int, colour: Colour):
        self.side, self.radius_px = side, side * RADIUS
        self.rgb: Rgb = np.full((side, side, 3), colour, np.uint8)
        self.mask: Mask = np.zeros((side, side), np.uint8)

    def shape(self, corners: Floats, colour: Colour, *, is_case: bool = False) -> None:
        """Fills a polygon, (N, 2); is_case: it belongs to the outline of the clock."""
        pixels = self._pixels(corners)
        cv2.fillPoly(self.rgb, [pixels], colour, cv2.LINE_AA, _SHIFT)
        if is_case:
            cv2.fillPoly(self.mask, [pixels], 255, cv2.LINE_AA, _SHIFT)

    def outline(self, corners: Floats, width: float, colour: Colour) -> None:
        """Draws the edge of a polygon, (N, 2); width: in radii."""
        thick = max(1, round(width * self.radius_px))
        cv2.polylines(self.rgb, [self._pixels(corners)], True, colour, thick, cv2.LINE_AA, _SHIFT)

    def text(
        self,
        words: str,
        middle: Pair,
        height: float,
        colour: Colour,
        font: Font = "sans",
        turn_deg: float = 0.0,
    ) -> None:
        """Writes words around a point; height: of a capital, in radii."""
        mask = written(words, font, max(4, round(height * self.radius_px)))
        self.stamp(turned(mask, turn_deg) if turn_deg else mask, middle, colour)

    def stamp(self, mask: Mask, middle: Pair, colour: Colour) -> None:
        """Lays colour where a mask is, (h, w), centred on a point; what juts out is cut."""
        h, w = mask.shape
        left = round(self.side / 2 + middle[0] * self.radius_px - w / 2)
        top = round(self.side / 2 - middle[1] * self.radius_px - h / 2)
        x0, y0 = max(left, 0), max(top, 0)
        part = self.rgb[y0 : top + h, x0 : left + w]
        if not part.size:
            return
        share = mask[y0 - top :, x0 - left :][: part.shape[0], : part.shape[1], None] / 255.0
        part[:] = np.rint(part * (1 - share) + np.array(colour) * share).astype(np.uint8)

    def _pixels(self, corners: Floats) -> npt.NDArray[np.int32]:
        pixels = self.side / 2 + corners * np.array([1.0, -1.0]) * self.radius_px
        return np.rint(pixels * (1 << _SHIFT)).astype(np.int32)


def at(angle_deg: float, radius: float) -> Pair:
    """The point in a direction."""
    angle = np.deg2rad(angle_deg)
    return radius * float(np.sin(angle)), radius * float(np.cos(angle))


def turned_corners(corners: Floats, angle_deg: float) -> Floats:
    """A shape that points to twelve, pointing elsewhere."""
    sin, cos = np.sin(np.deg2rad(angle_deg)), np.cos(np.deg2rad(angle_deg))
    return corners @ np.array([[cos, -sin], [sin, cos]])


def rounded(half_width: float, half_height: float, corner: float) -> Floats:
    """A rectangle whose corners are arcs; corner: their radius."""
    corner = min(corner, half_width, half_height)
    parts = []
    for number, (x, y) in enumerate(((1, 1), (1, -1), (-1, -1), (-1, 1))):
        angles = np.deg2rad(np.linspace(90 * number, 90 * (number + 1), 24))
        middle = np.array([x * (half_width - corner), y * (half_height - corner)])
        parts.append(middle + corner * np.stack([np.sin(angles), np.cos(angles)], axis=1))
    return np.concatenate(parts)


def regular(sides: int, radius: float, turn_deg: float = 0.0) -> Floats:
    """A regular polygon; with many sides a circle."""
    angles = np.deg2rad(turn_deg + np.arange(sides) * 360.0 / sides)
    return radius * np.stack([np.sin(angles), np.cos(angles)], axis=1)


def bar(angle_deg: float, inner: float, outer: float, width: float) -> Floats:
    """A rectangle along a direction, from one radius to another."""
    half = width / 2
    corners = np.array([(-half, inner), (-half, outer), (half, outer), (half, inner)])
    return turned_corners(corners, angle_deg)


def written(words: str, font: Font, height_px: int) -> Mask:
    """Words as a mask, (h, w), with nothing around them."""
    mask = _typeset(words, height_px) if font == "sans" else _stroked(words, font, height_px)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return np.zeros((1, 1), np.uint8)
    return mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def turned(mask: Mask, angle_deg: float) -> Mask:
    """A mask turned clockwise around its middle, in a square that holds it."""
    h, w = mask.shape
    side = int(np.ceil(np.hypot(h, w))) + 2
    matrix = cv2.getRotationMatrix2D((w / 2 - 0.5, h / 2 - 0.5), -angle_deg, 1.0)
    matrix[:, 2] += (side - w) / 2, (side - h) / 2
    return np.asarray(cv2.warpAffine(mask, matrix, (side, side)), np.uint8)


def _typeset(words: str, height_px: int) -> Mask:
    font = ImageFont.load_default(size=height_px * 1.38)  # a capital is so much lower
    left, top, right, bottom = font.getbbox(words)
    image = Image.new("L", (int(right - left) + 4, int(bottom - top) + 4))
    ImageDraw.Draw(image).text((2 - left, 2 - top), words, 255, font)
    return np.array(image)


def _stroked(words: str, font: Font, height_px: int) -> Mask:
    """With cv2's stroked letters, whose capitals are 21 units high."""
    scale, thick = height_px / 21.0, max(1, round(height_px * 0.1))
    (w, h), below = cv2.getTextSize(words, _STROKES[font], scale, thick)
    mask = np.zeros((h + below + 4 * thick, w + 4 * thick), np.uint8)
    start = (2 * thick, h + 2 * thick)
    cv2.putText(mask, words, start, _STROKES[font], scale, 255, thick, cv2.LINE_AA)
    return mask
