"""Makes frames small for the tracker, and remembers a few of them while a question is answered.

A glimpse is undistorted and about 320 pixels wide, so that motion is cheap to measure and a past
of seconds fits into memory. Knows nothing of what is tracked.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from molmo_ros.camera import FISHEYE_MODELS, Camera

Array = npt.NDArray[np.float64]

WIDTH = 320  # pixels, about
BLUR = 1.0  # pixels of what is compared
MEMORY_BYTES = 24_000_000  # of all remembered glimpses: 3 s at 640x480 before they thin out
GAP_S = 0.06  # between two that are remembered, at least


@dataclass(frozen=True, eq=False)
class Glimpse:
    """A small frame.

    rgb:     (h, w, 3) uint8
    depth_m: (h, w) float32, of the nearest surface under each pixel, NaN unknown; None without
    camera:  of the frame in full size; None without usable intrinsics
    shrink:  pixels of the frame per pixel of the glimpse
    """

    stamp_s: float
    rgb: npt.NDArray[np.uint8]
    depth_m: npt.NDArray[np.float32] | None
    camera: Camera | None
    shrink: int

    @cached_property
    def k(self) -> Array | None:
        """(3, 3) intrinsics of the glimpse."""
        return None if self.camera is None else _small_k(self.camera, self.shrink)

    def contains(self, pixel: Array) -> bool:
        """Whether a pixel is in the picture."""
        height, width = self.rgb.shape[:2]
        return bool(-0.5 <= pixel[0] < width - 0.5 and -0.5 <= pixel[1] < height - 0.5)

    def point_m(self, pixel: Array) -> Array | None:
        """The point (3,) behind a pixel in the camera's frame, metres; None without depth."""
        if self.depth_m is None or self.camera is None or not self.contains(pixel):
            return None
        u, v = np.rint(pixel).astype(int)
        point: Array = self.depth_m[v, u] * np.linalg.solve(self.k, [*pixel, 1.0])
        return point if np.isfinite(point).all() else None

    def from_frame(self, pixel: tuple[float, float]) -> Array:
        """A pixel of the frame as a pixel (2,) of the glimpse."""
        if self.camera is None:
            return (np.array(pixel, np.float64) + 0.5) / self.shrink - 0.5
        return (self.camera.directions(pixel)[0] @ self.k.T)[:2]

    def to_frame(self, pixel: Array) -> tuple[float, float]:
        """A pixel of the glimpse as a pixel of the frame."""
        if self.camera is None:
            u, v = (np.asarray(pixel) + 0.5) * self.shrink - 0.5
        else:
            u, v = _distorted(self.camera, np.linalg.solve(self.k, [*pixel, 1.0]))
        return float(u), float(v)


def glimpse(
    stamp_s: float,
    rgb: npt.NDArray[np.uint8],
    depth_m: npt.NDArray[np.float32] | None,
    camera: Camera | None,
) -> Glimpse:
    """A small copy of a frame: rgb (H, W, 3), depth_m (H, W) registered to it, its intrinsics."""
    height, width = rgb.shape[:2]
    shrink = max(1, round(width / WIDTH))
    size = (width // shrink, height // shrink)
    corner = slice(0, size[1] * shrink), slice(0, size[0] * shrink)
    small = cv2.resize(rgb[corner], size, interpolation=cv2.INTER_AREA)
    if depth_m is not None:
        depth_m = _nearest(depth_m[corner], shrink)
    if camera is not None and camera.distortion.any():
        at = _straightening(_key(camera), shrink, size)
        small = cv2.remap(small, *at, cv2.INTER_LINEAR)
        if depth_m is not None:
            depth_m = cv2.remap(depth_m, *at, cv2.INTER_NEAREST, borderValue=np.nan)
    elif shrink == 1:
        small = small.copy()  # the frame's buffer is not ours
    return Glimpse(stamp_s, small, depth_m, camera, shrink)


class Past:
    """The glimpses since a moment, evenly thinned out when they become too many."""

    def __init__(self) -> None:
        self._kept: list[Glimpse] = []
        self._gap_s = GAP_S

    def add(self, seen: Glimpse) -> None:
        """Keeps a glimpse, unless the last one was taken just before it."""
        if self._kept and seen.stamp_s - self._kept[-1].stamp_s < self._gap_s:
            return
        self._kept.append(seen)
        if len(self._kept) * _bytes(seen) > MEMORY_BYTES:
            self._kept = self._kept[1::2]
            self._gap_s *= 2

    def since(self, stamp_s: float) -> list[Glimpse]:
        """Those taken later, the oldest first."""
        return [seen for seen in self._kept if seen.stamp_s > stamp_s]


def main_colour(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """(3,) the mixture of red, green and blue that shows the edges of a picture best.

    Grey would not do: a red cube on a table of the same brightness would vanish.
    """
    smooth = cv2.GaussianBlur(rgb, (0, 0), 1.0)
    du = cv2.Sobel(smooth, cv2.CV_32F, 1, 0).reshape(-1, 3)
    dv = cv2.Sobel(smooth, cv2.CV_32F, 0, 1).reshape(-1, 3)
    _, axes = np.linalg.eigh(du.T @ du + dv.T @ dv)
    return np.asarray(axes[:, -1] / np.abs(axes[:, -1]).sum(), np.float32)


def mixed(rgb: npt.NDArray[np.uint8], colour: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(H, W) a colour picture in grey levels, slightly blurred."""
    grey = cv2.transform(rgb.astype(np.float32), colour[None])
    return np.asarray(cv2.GaussianBlur(grey, (0, 0), BLUR), np.float32)


def _nearest(depth_m: npt.NDArray[np.float32], shrink: int) -> npt.NDArray[np.float32]:
    """The nearest depth under each small pixel and its neighbours.

    An outline belongs to the thing in front: its pixels must not get the depth behind it.
    """
    small = depth_m[shrink // 2 :: shrink, shrink // 2 :: shrink]
    known = np.where(np.isfinite(small), small, np.float32(np.inf))
    near = cv2.erode(known, np.ones((3, 3)))
    near[np.isinf(near)] = np.nan
    return np.asarray(near, np.float32)


def _bytes(seen: Glimpse) -> int:
    return seen.rgb.nbytes + (0 if seen.depth_m is None else seen.depth_m.nbytes)


def _small_k(camera: Camera, shrink: int) -> Array:
    """Intrinsics after shrinking: the centre of the first pixel moves."""
    k: Array = np.diag([1 / shrink, 1 / shrink, 1.0]) @ camera.k
    k[:2, 2] += 0.5 / shrink - 0.5
    return k


def _key(camera: Camera) -> tuple[tuple[float, ...], tuple[float, ...], str]:
    return tuple(camera.k.ravel()), tuple(camera.distortion), camera.model


@lru_cache(maxsize=4)
def _straightening(
    key: tuple[tuple[float, ...], tuple[float, ...], str], shrink: int, size: tuple[int, int]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Where the pixels of a small straight picture are in the small picture as it came."""
    camera = Camera(0, 0, np.reshape(key[0], (3, 3)), np.array(key[1]), key[2], "")
    k = _small_k(camera, shrink)
    if camera.model in FISHEYE_MODELS:
        init = cv2.fisheye.initUndistortRectifyMap
    else:
        init = cv2.initUndistortRectifyMap
    maps: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]] = init(
        k, camera.distortion, np.eye(3), k, size, cv2.CV_32FC1
    )
    return maps


def _distorted(camera: Camera, direction: Array) -> Array:
    """The pixel (2,) of the frame that looks along a direction (3,)."""
    if camera.model in FISHEYE_MODELS and camera.distortion.any():
        project = cv2.fisheye.projectPoints
        uv, _ = project(
            direction.reshape(1, 1, 3), np.zeros(3), np.zeros(3), camera.k, camera.distortion
        )
    else:
        uv, _ = cv2.projectPoints(
            direction.reshape(1, 1, 3), np.zeros(3), np.zeros(3), camera.k, camera.distortion
        )
    return uv.reshape(2)
