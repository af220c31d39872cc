"""Carries pixels from the frame they were named in to later frames.

Two witnesses. With depth, the whole picture tells how the camera moved, and so where a resting
surface point must be now (Scene). Around each point, its own neighbourhood tells whether it still
looks the same there, or has moved by itself (spots.py). A point is where both agree, or where its
neighbourhood clearly is; otherwise it is lost, until it looks right again where it should be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from molmo_ros.alignment import RIGID, Fit, Template
from molmo_ros.glimpses import Glimpse, main_colour, mixed
from molmo_ros.spots import Spot

Array = npt.NDArray[np.float64]

PIXELS = 800  # of the whole picture that are aligned
RENEW_SHARE = 0.6  # below, a newer picture serves as the template
RENEW_NOISE = 6.0  # grey levels, likewise
MIN_SHARE = 0.35  # below, the motion of the scene is not known
HOLD = 2000.0  # a picture with less in it than a small thing's outline says nothing of motion


@dataclass(frozen=True)
class Tracked:
    """One point now.

    pixel:      (u, v) of the frame; where it should be, or was seen last, when it is lost
    confidence: that it is still on its spot, 0..1; 0 when it is lost
    """

    pixel: tuple[float, float]
    confidence: float

    @property
    def is_lost(self) -> bool:
        return self.confidence == 0.0


class Tracker:
    """Follows a few points of one camera; needs every glimpse, or at least several a second."""

    def __init__(self, first: Glimpse, pixels: Sequence[tuple[float, float]]) -> None:
        """pixels: (u, v) of the frame that `first` was made from"""
        self._scene = Scene(first) if first.k is not None else None
        self._spots = [Spot(first, first.from_frame(pixel)) for pixel in pixels]
        self._shape = first.rgb.shape

    def step(self, now: Glimpse) -> list[Tracked]:
        """Where the points are in the next glimpse, in the order in which they were given."""
        if now.rgb.shape != self._shape:
            raise ValueError(
                f"the picture is {now.rgb.shape[1]}x{now.rgb.shape[0]} pixels now and was "
                f"{self._shape[1]}x{self._shape[0]} (made small): nothing can be tracked across "
                "a change of resolution. Ask again"
            )
        motion = None
        if self._scene is not None and now.k is not None:
            motion = self._scene.step(now)
        for spot in self._spots:
            spot.step(now, motion)
        return [Tracked(now.to_frame(spot.pixel), spot.confidence) for spot in self._spots]


class Scene:
    """How the resting part of the picture moves before the camera; needs depth now and then."""

    def __init__(self, first: Glimpse) -> None:
        self._template: Template | None = None
        self._motion = np.eye(4)  # of the template, up to the last glimpse
        self._is_known = True
        self._learn(first)

    def step(self, now: Glimpse) -> Array | None:
        """(4, 4) from the last glimpse's camera frame to this one's; None when it is not known."""
        fit = self._find(now)
        if fit is None:
            self._is_known = False
            self._learn(now)
            return None
        step = fit.motion @ np.linalg.inv(self._motion) if self._is_known else None
        self._motion, self._is_known = fit.motion, True
        if fit.share < RENEW_SHARE or fit.noise > RENEW_NOISE:
            self._learn(now)
        return step

    def _find(self, now: Glimpse) -> Fit | None:
        if self._template is None:
            return None
        fit = self._template.find(mixed(now.rgb, self._colour), self._motion)
        return fit if fit is not None and fit.share >= MIN_SHARE else None

    def _learn(self, now: Glimpse) -> None:
        """Takes a glimpse with depth as the template; keeps the old one without."""
        if now.depth_m is None:
            return
        self._colour = main_colour(now.rgb)
        template = Template(
            mixed(now.rgb, self._colour), _surface(now), now.k, freedom=RIGID, most=PIXELS
        )
        self._template = template if template.hold > HOLD else None
        self._motion, self._is_known = np.eye(4), True


def _surface(seen: Glimpse) -> Array:
    """(h, w, 3) the point behind each pixel, NaN where depth is unknown."""
    height, width = seen.depth_m.shape
    u, v = np.meshgrid(np.arange(width), np.arange(height))
    x = (u - seen.k[0, 2]) / seen.k[0, 0]
    y = (v - seen.k[1, 2]) / seen.k[1, 1]
    return np.dstack([x, y, np.ones_like(x)]) * seen.depth_m[..., None]
