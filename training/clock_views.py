"""Puts a clock before a background, seen from somewhere, by a camera that is not perfect.

S side of the canvas and P of the picture, both in pixels
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from molmo_model.pictures import Rgb
from molmo_training.clock_canvas import Canvas, Colour
from molmo_training.clock_style import colour_in
from molmo_training.prompts import Rng

OVERSAMPLING = 2  # the canvas has so many pixels for one of the picture, along each axis
BACKGROUNDS = ("plain", "gradient", "clouds", "stripes", "blobs")


@dataclass(frozen=True, kw_only=True)
class View:
    """From where and how a clock is seen; the defaults show it as it was drawn.

    turn_deg: clockwise; tilt: how far corners move, and shift: the middle, as shares of the side
    blur_px, noise, brightness, contrast: of the camera; noise of 255
    """

    side_px: int = 336
    turn_deg: float = 0.0
    zoom: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    tilt: tuple[float, ...] = (0.0,) * 8
    background: str = "plain"
    colours: tuple[Colour, Colour] = ((255, 255, 255), (255, 255, 255))
    blur_px: float = 0.0
    noise: float = 0.0
    brightness: float = 0.0
    contrast: float = 1.0
    seed: int = 0


def sample_view(rng: Rng, *, is_marked: bool) -> View:
    """One of endlessly many, in which the clock stays inside and in sight.

    is_marked: numerals or digits tell where up is; without, nothing turns by half a minute
    """
    turn_deg, tilt = (15.0, 0.05) if is_marked else (1.2, 0.008)
    return View(
        side_px=int(rng.randint(256, 481)),
        turn_deg=rng.uniform(-turn_deg, turn_deg),
        zoom=rng.uniform(0.6, 0.95),
        shift=(rng.uniform(-0.05, 0.05), rng.uniform(-0.05, 0.05)),
        tilt=tuple(rng.uniform(-tilt, tilt, 8).tolist()),
        background=BACKGROUNDS[rng.randint(len(BACKGROUNDS))],
        colours=(colour_in(rng, (0.1, 1), (0, 0.6)), colour_in(rng, (0.1, 1), (0, 0.6))),
        blur_px=max(0.0, rng.uniform(-0.8, 1.2)),
        noise=max(0.0, rng.uniform(-4.0, 8.0)),
        brightness=rng.uniform(-25, 25),
        contrast=rng.uniform(0.8, 1.15),
        seed=int(rng.randint(2**31 - 1)),
    )


def photograph(canvas: Canvas, view: View) -> Rgb:
    """The picture, (P, P, 3); the canvas has OVERSAMPLING times its side."""
    assert canvas.side == OVERSAMPLING * view.side_px, (canvas.side, view.side_px)
    rng = Rng(view.seed)
    size = (canvas.side, canvas.side)
    matrix = homography(view, canvas.side)
    clock = cv2.warpPerspective(canvas.rgb, matrix, size, borderMode=cv2.BORDER_REPLICATE)
    share = cv2.warpPerspective(canvas.mask, matrix, size)[..., None].astype(np.float32) / 255
    scene = _background(view, rng, canvas.side) * (1 - share) + clock * share
    seen = cv2.resize(scene, (view.side_px, view.side_px), interpolation=cv2.INTER_AREA)
    if view.blur_px > 0:
        seen = cv2.GaussianBlur(seen, (0, 0), view.blur_px)
    seen = (seen - 128) * view.contrast + 128 + view.brightness
    seen = seen + view.noise * rng.standard_normal(seen.shape)
    return np.clip(np.rint(seen), 0, 255).astype(np.uint8)


def homography(view: View, side: int) -> npt.NDArray[np.float64]:
    """(3, 3): where a pixel of a canvas is seen, before the picture is made smaller."""
    corners = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])
    sin, cos = np.sin(np.deg2rad(view.turn_deg)), np.cos(np.deg2rad(view.turn_deg))
    seen = view.zoom * corners @ np.array([[cos, sin], [-sin, cos]])
    seen = seen + np.array(view.shift) + np.array(view.tilt).reshape(4, 2) * view.zoom
    before, after = (((one + 0.5) * side).astype(np.float32) for one in (corners, seen))
    return np.asarray(cv2.getPerspectiveTransform(before, after), np.float64)


def _background(view: View, rng: Rng, side: int) -> npt.NDArray[np.float32]:
    """(S, S, 3): a mixture of two colours, by a pattern."""
    share = _pattern(view.background, rng, side)[..., None]
    one, other = (np.array(colour, np.float32) for colour in view.colours)
    return one * (1 - share) + other * share


def _pattern(kind: str, rng: Rng, side: int) -> npt.NDArray[np.float32]:
    """(S, S), 0 to 1."""
    y, x = np.mgrid[:side, :side].astype(np.float32) / side
    angle, phase = rng.uniform(0, 2 * np.pi, 2)
    along = x * np.cos(angle) + y * np.sin(angle)
    if kind == "gradient":
        return np.asarray((along - along.min()) / np.ptp(along), np.float32)
    if kind == "stripes":
        return np.asarray(
            0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(3, 12) * along + phase), np.float32
        )
    if kind in ("clouds", "blobs"):
        cells = 6 if kind == "clouds" else 14
        coarse = rng.random_sample((cells, cells)).astype(np.float32)
        smooth = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
        return np.asarray(np.clip(smooth, 0, 1) if kind == "clouds" else smooth > 0.5, np.float32)
    return np.zeros((side, side), np.float32)
