"""Finds how a surface moved by making a later picture look like an earlier one.

Lucas and Kanade's idea for rigid motions in 3-D: all pixels with a gradient pull at once, so that
plain things are held by their outlines. Robust against what does not fit: other motions,
occlusion, brightness and contrast. Knows nothing of points, frames or time.

N pixels of a level
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Grey = npt.NDArray[np.float32]

RIGID = (0, 1, 2, 3, 4, 5)  # x, y, z, then the rotations about them
SIMILARITY = (0, 1, 2, 5)  # what a flat patch of unknown depth can do: shift, scale, turn

MIN_GRADIENT = 1.5  # grey levels per pixel; below is noise
TILE = 2  # pixels
MIN_PIXELS = 12  # of a level that is worth aligning
MIN_NOISE = 2.0  # grey levels: no picture matches better
ROUNDS = 5  # of Gauss and Newton per level
SETTLED_PX = 0.1
DAMPING = 1e-5  # of the mean curvature: keeps what the picture does not tell where it was


@dataclass(frozen=True, eq=False)
class Fit:
    """The end of an alignment.

    motion:   (4, 4) rigid, carries the template's points to where the later picture shows them
    share:    of the template's pixels, how many fit, 0..1
    noise:    how well these fit, grey levels (a robust standard deviation)
    """

    motion: Array
    share: float
    noise: float


class Template:
    """An earlier picture with the surface behind its pixels, ready to be found in later ones."""

    def __init__(
        self,
        picture: Grey,
        surface: Array,
        k: Array,
        *,
        freedom: tuple[int, ...],
        weights: Grey | None = None,
        most: int,
        levels: int = 3,
    ) -> None:
        """Chooses the pixels to look at: those with the strongest gradients.

        picture: (H, W) grey levels; the later pictures have this size, too
        surface: (H, W, 3) the point behind each pixel in the camera's frame, NaN where unknown
        k:       (3, 3) intrinsics of the picture
        freedom: which of RIGID may change
        weights: (H, W) how much a pixel counts; None: all alike
        most:    pixels on the finest level; each coarser one has half as many
        """
        weights = np.ones_like(picture) if weights is None else weights
        self._levels: list[Level] = []
        for i, grey in enumerate(pyramid(picture, levels)):
            step = 2**i
            level = Level(
                grey,
                surface[::step, ::step],
                weights[::step, ::step],
                _shrunk(k, step),
                freedom,
                most // step,
            )
            self._levels.append(level)

    @property
    def hold(self) -> float:
        """How firmly the picture holds the template in its weakest direction; 0: not at all."""
        return self._levels[0].hold

    def find(self, picture: Grey, motion: Array, *, is_near: bool = False) -> Fit | None:
        """Where the template is in a later picture, from a first guess; None where it is not.

        is_near: the guess is right to a pixel or two: the finest level is enough
        """
        fit: Fit | None = None
        levels = self._levels[:1] if is_near else self._levels
        pictures = pyramid(picture, len(levels))
        for level, grey in zip(reversed(levels), reversed(pictures), strict=True):
            if level.count < MIN_PIXELS:
                continue
            fit = level.find(grey, motion)
            if fit is None:
                return None
            motion = fit.motion
        return fit


class Level:
    """One resolution of a template."""

    def __init__(
        self,
        grey: Grey,
        surface: Array,
        weights: Grey,
        k: Array,
        freedom: tuple[int, ...],
        most: int,
    ) -> None:
        du = cv2.Sobel(grey, cv2.CV_32F, 1, 0, scale=1 / 8)
        dv = cv2.Sobel(grey, cv2.CV_32F, 0, 1, scale=1 / 8)
        strength = np.nan_to_num(np.hypot(du, dv)) * np.isfinite(surface[..., 2]) * weights
        at = _strongest(strength, most)
        self.count = len(at)
        self._k = k
        self._freedom = list(freedom)
        self._points: Array = surface.reshape(-1, 3)[at]
        self._grey = grey.ravel()[at]
        self._weights = weights.ravel()[at]
        self._weight = float(self._weights.sum())
        gradient = np.column_stack([du.ravel()[at], dv.ravel()[at]]).astype(np.float64)
        self.hold = _weakest(gradient, self._weights)
        pull = _pull(gradient, self._points, k)[:, self._freedom]
        contrast = self._grey - (self._grey.mean() if self.count else 0.0)
        self._per_gain = _rms(pull) / max(_rms(contrast), 1.0)  # makes it weigh like a motion
        self._pull = np.column_stack([pull, self._per_gain * contrast])

    def find(self, grey: Grey, motion: Array) -> Fit | None:
        """The motion under which most pixels look as they did; None when too few are in view."""
        gain = 1.0
        for _ in range(ROUNDS):
            now, in_view = self._seen(grey, motion)
            miss = (now - gain * self._grey)[in_view]
            if len(miss) < MIN_PIXELS:
                return None
            miss -= _median(miss)  # it may have become brighter
            noise = max(1.4826 * _median(np.abs(miss)), MIN_NOISE)
            fits = 1 / (1 + (miss / (2 * noise)) ** 2) ** 2  # Geman and McClure's weights
            fits *= self._weights[in_view]
            step, more_gain = self._solve(miss, fits, self._pull[in_view])
            gain += more_gain
            motion = motion @ _rigid(-step)
            if np.abs(step).max() * self._k[0, 0] < SETTLED_PX:
                break
        return Fit(motion, float(fits.sum()) / self._weight, noise)

    def _seen(self, grey: Grey, motion: Array) -> tuple[Grey, npt.NDArray[np.bool_]]:
        """What the picture shows of the moved pixels (N,), and which of them are in it."""
        uv = project(self._points, motion, self._k).astype(np.float32)
        height, width = grey.shape
        now = cv2.remap(grey, uv[None, :, 0], uv[None, :, 1], cv2.INTER_LINEAR)[0]
        u, v = uv.T
        in_view = (u >= 0) & (v >= 0) & (u <= width - 1) & (v <= height - 1) & np.isfinite(now)
        return now, in_view

    def _solve(self, miss: Grey, weights: Grey, pull: Array) -> tuple[Array, float]:
        """(6,) the motion and the gain of contrast that explain the differences best."""
        weighted = pull * weights[:, None]
        curvature = weighted.T @ pull
        curvature[np.diag_indices(len(curvature))] += DAMPING * np.trace(curvature) + 1e-9
        solved = np.linalg.solve(curvature, weighted.T @ miss)
        step = np.zeros(6)
        step[self._freedom] = solved[:-1]
        return step, float(solved[-1] * self._per_gain)


def pyramid(picture: Grey, levels: int) -> list[Grey]:
    """The picture and its coarser versions; pixel (u, v) of one is (u / 2, v / 2) of the next."""
    pictures = [picture]
    while len(pictures) < levels:
        pictures.append(cv2.pyrDown(pictures[-1]))
    return pictures


def project(points: Array, motion: Array, k: Array) -> Array:
    """(N, 3) points, moved, to (N, 2) pixels; those not before the camera are far outside."""
    x, y, z = motion[:3, :3] @ points.T + motion[:3, 3:]
    z = np.maximum(z, 1e-6)
    return np.column_stack([x / z * k[0, 0] + k[0, 2], y / z * k[1, 1] + k[1, 2]])


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(values**2))) if values.size else 0.0


def _median(values: Grey) -> float:
    """The upper median, several times faster than NumPy's."""
    middle = len(values) // 2
    return float(np.partition(values, middle)[middle])


def _strongest(gradient: Grey, most: int) -> npt.NDArray[np.intp]:
    """The pixels (indices into the flat picture) with the largest gradients, at most so many.

    One of each tile at most: else a single strong outline would have all the votes.
    """
    rows, columns = (size // TILE * TILE for size in gradient.shape)
    inner = gradient[:rows, :columns].copy()
    inner[0] = inner[:, 0] = 0  # no gradient at the border
    tiles = inner.reshape(rows // TILE, TILE, -1, TILE).swapaxes(1, 2).reshape(-1, TILE * TILE)
    best = tiles.argmax(axis=1)
    value = tiles[np.arange(len(tiles)), best]
    kept = np.argsort(value)[-most:]
    kept = kept[value[kept] >= MIN_GRADIENT]
    v = kept // (columns // TILE) * TILE + best[kept] // TILE
    u = kept % (columns // TILE) * TILE + best[kept] % TILE
    return np.asarray(v * gradient.shape[1] + u, np.intp)


def _weakest(gradient: Array, weights: Grey) -> float:
    """The smaller eigenvalue of the structure tensor: an edge alone leaves one direction free."""
    tensor = (gradient * weights[:, None]).T @ gradient
    return float(np.linalg.eigvalsh(tensor)[0]) if len(gradient) else 0.0


def _pull(gradient: Array, points: Array, k: Array) -> Array:
    """(N, 6) how the grey level of each pixel changes with x, y, z and the three rotations."""
    x, y, z = points.T
    zero, near = np.zeros_like(z), 1 / z
    du = np.column_stack(
        [near, zero, -x * near**2, -x * y * near**2, 1 + (x * near) ** 2, -y * near]
    )
    dv = np.column_stack(
        [zero, near, -y * near**2, -1 - (y * near) ** 2, x * y * near**2, x * near]
    )
    pull: Array = gradient[:, :1] * k[0, 0] * du + gradient[:, 1:] * k[1, 1] * dv
    return pull


def _rigid(step: Array) -> Array:
    motion = np.eye(4)
    motion[:3, :3] = cv2.Rodrigues(step[3:])[0]
    motion[:3, 3] = step[:3]
    return motion


def _shrunk(k: Array, step: int) -> Array:
    """Intrinsics of the picture that keeps every `step`-th pixel."""
    return np.diag([1 / step, 1 / step, 1.0]) @ k
