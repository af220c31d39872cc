"""The surface that a pixel sees: robust depth, normal and how much to trust them.

Looks at a window around the pixel, keeps what belongs to the pixel's own surface (connected in
depth, never across an edge) and fits a plane to it. A hole is bridged only where everything around
it is one surface. Knows nothing of colours, and nothing of what the model meant to point at.

z depth in metres along the optical axis; windows are (rows, columns) cut out of the depth image
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt

from molmo_ros.camera import Camera
from molmo_ros.noise import STEREO, DepthNoise
from molmo_ros.planes import Array, Mask, Plane, inverted

Depth = npt.NDArray[np.float32]
Pixel = tuple[float, float]

# Half the window's side in radians: 7, 11 and 16 pixels of a Kinect (f = 525), 1 to 2 cm on a
# table. Small enough for a curved thing, large enough to average depth noise to a degree of tilt.
HALF_ANGLES = (7 / 525, 11 / 525, 16 / 525)
HOLE_HALF_ANGLES = (3 / 525, 5 / 525, 7 / 525)  # a larger hole may be a whole dark thing
HOLE_SLOPE = 0.25  # how much a surface may rise inside a hole, by the distance from its rim
MIN_POINTS = 12  # a plane from fewer may tilt anyhow
SPECK = 6  # so few connected pixels are a fault of the depth camera, not a thing
STEEPEST = 3.7  # depth step per lateral step that still counts as one surface: tan 75 deg
CENTRE = 2  # pixels; the depth itself is taken from the (2 * 2 + 1)^2 nearest pixels
# Neighbouring depth pixels share their noise, so that a patch of them counts as one: on recorded
# Kinect frames the autocorrelation of a flat table, summed over neighbours, is 16.
CORRELATED = 16.0
EDGE_SHARE = 0.15  # of the window on another surface: the point lies at an edge


@dataclass(frozen=True, eq=False, kw_only=True)
class Surface:
    """The surface at one pixel, in the optical frame.

    depth_sigma_m:     standard deviation of depth_m along the axis, edges included
    normal_covariance: (3, 3) of plane.normal
    spread_m:          1.4826 * median absolute deviation of the window's surface around the plane
    valid_fraction:    share of the window that has depth
    window:            its side in pixels
    bimodal:           part of the window lies on another surface
    """

    plane: Plane
    depth_m: float
    depth_sigma_m: float
    normal_covariance: Array
    spread_m: float
    valid_fraction: float
    window: int
    bimodal: bool


@dataclass(frozen=True, eq=False)
class _Window:
    """A square cut out of the depth image, with what its pixels look along.

    z:       (h, w) metres; valid: (h, w), where it is known
    du, dv:  (w,) and (h,) pixels from the wanted pixel
    seed:    row and column of the pixel nearest to the wanted one
    centre:  (3,) direction of the wanted pixel itself
    lateral: (3, h, w) x - x0, y - y0 and 1 of the directions around it
    focal:   pixels per radian
    noise:   of one depth pixel
    """

    z: Array
    valid: Mask
    du: Array
    dv: Array
    seed: tuple[int, int]
    centre: Array
    lateral: Array
    radius: int
    focal: float
    noise: DepthNoise

    @cached_property
    def reach(self) -> Array:
        """(h, w) pixels from the wanted one, along the axis on which they are more."""
        return np.maximum(np.abs(self.dv)[:, None], np.abs(self.du))


@dataclass(frozen=True, eq=False)
class _Fit:
    """A plane through part of a window: 1/z = a (x - x0) + b (y - y0) + c.

    abc:        (3,)
    covariance: (3, 3) of abc, per unit variance of inverse depth
    residuals:  (h, w) measured minus plane, along z; NaN without depth
    noise_m:    of one depth pixel at the wanted one
    """

    abc: Array
    covariance: Array
    residuals: Array
    noise_m: float

    @property
    def depth_m(self) -> float:
        """Of the plane at the wanted pixel."""
        return float(1 / self.abc[2])


def find_surface(
    depth_m: Depth, pixel: Pixel, camera: Camera, noise: DepthNoise = STEREO
) -> Surface | None:
    """The surface at a pixel of a depth image (H, W), or None where depth does not tell."""
    for angle in HALF_ANGLES:
        window = _cut(depth_m, pixel, camera, angle, noise)
        own = _connected(window)
        if np.count_nonzero(own) >= MIN_POINTS:
            fit = _grow_fit(window, own)
            if fit is not None:
                return _describe(window, fit, own)
    if np.count_nonzero(own) > SPECK:  # something is there, too small or too thin to be measured
        return None
    return _bridge(depth_m, pixel, camera, noise)


def nearest_pixel(pixel: Pixel, depth_m: Depth) -> tuple[int, int]:
    """Column and row of the depth pixel in which a point between pixels lies."""
    height, width = depth_m.shape
    u, v = pixel
    return min(max(round(u), 0), width - 1), min(max(round(v), 0), height - 1)


def _cut(depth_m: Depth, pixel: Pixel, camera: Camera, angle: float, noise: DepthNoise) -> _Window:
    radius = max(2, round(angle * camera.focal))
    u, v = nearest_pixel(pixel, depth_m)
    left, top = max(u - radius, 0), max(v - radius, 0)
    z = depth_m[top : v + radius + 1, left : u + radius + 1].astype(np.float64)
    rows, columns = np.arange(top, top + z.shape[0]), np.arange(left, left + z.shape[1])
    centre = camera.directions(pixel)[0]
    lateral = camera.grid(columns, rows)
    lateral[:2] -= centre[:2, None, None]
    return _Window(
        z=z,
        valid=np.isfinite(z) & np.isfinite(lateral[0]),
        du=columns - pixel[0],
        dv=rows - pixel[1],
        seed=(v - top, u - left),
        centre=centre,
        lateral=lateral,
        radius=radius,
        focal=camera.focal,
        noise=noise,
    )


def _connected(window: _Window) -> Mask:
    """The pixels that are reached from the wanted one without a jump in depth."""
    row, column = window.seed
    if not window.valid[row, column]:
        return np.zeros(window.z.shape, np.bool_)
    blocked = np.ones((window.z.shape[0] + 2, window.z.shape[1] + 2), np.uint8)
    np.logical_not(window.valid, out=blocked[1:-1, 1:-1], casting="unsafe")
    z = float(window.z[row, column])
    step = 4 * float(window.noise.sigma_m(z)) + STEEPEST * z / window.focal
    flags = 4 | cv2.FLOODFILL_MASK_ONLY | 2 << 8
    cv2.floodFill(window.z.astype(np.float32), blocked, (column, row), 0, step, step, flags)
    return np.asarray(blocked[1:-1, 1:-1] == 2, np.bool_)


def _grow_fit(window: _Window, own: Mask) -> _Fit | None:
    """Fits the pixels nearest to the wanted one, then reaches out as far as the plane holds.

    Starting from the middle keeps the fit on the pixel's own side of a crease.
    """
    inside = own & (window.reach <= max(CENTRE, window.radius / 2))
    if np.count_nonzero(inside) < MIN_POINTS:
        inside = own
    for _ in range(5):  # most settle after two or three
        fit = _fit(window, inside)
        if fit is None:
            return None
        spread = max(_spread(fit.residuals[inside]), 0.5 * fit.noise_m)
        reached = own & (np.abs(fit.residuals) <= 3 * spread)
        if np.array_equal(reached, inside):
            break
        if np.count_nonzero(reached) < MIN_POINTS:
            return None
        inside = reached
    return fit


def _fit(window: _Window, inside: Mask) -> _Fit | None:
    """Least squares around the wanted pixel; None where no plane is determined."""
    lateral = window.lateral[:, inside]
    square = lateral @ lateral.T
    if _condition(square[:2, :2]) > 1e4:  # all on a line: any plane through it fits
        return None
    covariance = np.linalg.inv(square)
    abc = covariance @ (lateral @ (1 / window.z[inside]))
    if abc[2] <= 0:  # behind the camera: noise, no surface
        return None
    inverse = (abc @ window.lateral.reshape(3, -1)).reshape(window.z.shape)
    noise_m = float(window.noise.sigma_m(1 / abc[2]))
    return _Fit(abc, covariance, window.z - inverted(inverse), noise_m)


def _condition(square: Array) -> float:
    """Largest by smallest eigenvalue of a symmetric (2, 2) matrix."""
    (a, b), (_, d) = square.tolist()
    mean, apart = (a + d) / 2, math.hypot((a - d) / 2, b)
    return (mean + apart) / (mean - apart) if mean > apart else math.inf


def _plane(window: _Window, fit: _Fit) -> tuple[Plane, Array]:
    """The plane, and the covariance (3, 3) of its normal per unit variance of inverse depth."""
    x0, y0, _ = window.centre
    to_weights = np.array([[1, 0, 0], [0, 1, 0], [-x0, -y0, 1]])
    plane = Plane.from_inverse(to_weights @ fit.abc)
    along = (np.eye(3) - np.outer(plane.normal, plane.normal)) @ to_weights * plane.offset_m
    return plane, along @ fit.covariance @ along.T


def _bridge(depth_m: Depth, pixel: Pixel, camera: Camera, noise: DepthNoise) -> Surface | None:
    """The surface across a hole: only if the hole is small and all around it is one plane."""
    for angle in HOLE_HALF_ANGLES:
        window = _cut(depth_m, pixel, camera, angle, noise)
        around = window.valid & ~_connected(window)  # a speck in the hole is no depth
        if np.count_nonzero(around) < 2 * MIN_POINTS or not _surrounds(window, around):
            continue
        fit = _fit(window, around)
        if fit is None:
            return None
        # A twentieth may be the ragged rim of the hole; a second surface is more than that.
        if np.mean(np.abs(fit.residuals[around]) > 4 * fit.noise_m) > 0.05:
            return None
        return _describe(window, fit, around)
    return None


def _surrounds(window: _Window, around: Mask) -> bool:
    """Whether some pixels lie in each of the four quarters around the wanted one."""
    right, left, below, above = (
        window.du > 0.5,
        window.du < -0.5,
        window.dv > 0.5,
        window.dv < -0.5,
    )
    return all(
        around[rows][:, columns].any() for rows in (below, above) for columns in (right, left)
    )


def _describe(window: _Window, fit: _Fit, own: Mask) -> Surface:
    depth_m, samples = _depth_at_centre(window, fit, own)
    spread = _spread(fit.residuals[own])
    error = max(spread, 0.5 * fit.noise_m)
    # A median of n is as good as a mean of n / 1.57; the other bound is the plane's own. The
    # nearest pixels are about one patch that shares its noise: no better than one pixel.
    leverage = float(fit.covariance[2, 2])
    variance = error**2 * CORRELATED * max(1.57 / samples if samples else 0.0, leverage)
    to_rim_squared = float((np.square(window.dv)[:, None] + np.square(window.du))[own].min())
    variance += (HOLE_SLOPE * depth_m / window.focal) ** 2 * to_rim_squared
    far = window.valid & (np.abs(fit.residuals) > max(4 * error, 2 * fit.noise_m))
    known = np.count_nonzero(window.valid)
    share = float(np.count_nonzero(far) / known)
    if share > 0:  # the wanted point may as well be on the other surface
        variance += share * (1 - share) * (median(window.z[far]) - depth_m) ** 2
    plane, normal_covariance = _plane(window, fit)
    return Surface(
        plane=plane,
        depth_m=depth_m,
        depth_sigma_m=math.sqrt(variance),
        normal_covariance=normal_covariance * CORRELATED * (error / depth_m**2) ** 2,
        spread_m=spread,
        valid_fraction=float(known / window.z.size),
        window=2 * window.radius + 1,
        bimodal=share >= EDGE_SHARE,
    )


def _depth_at_centre(window: _Window, fit: _Fit, own: Mask) -> tuple[float, int]:
    """Depth of the wanted pixel, and how many pixels say so.

    The plane's, moved by the median of the nearest pixels: right on curved things too.
    """
    nearest = own & (window.reach <= CENTRE + 0.5)
    samples = np.count_nonzero(nearest)
    if samples < 5:
        return fit.depth_m, 0
    return fit.depth_m + median(fit.residuals[nearest]), samples


def _spread(residuals: Array) -> float:
    """The standard deviation around the plane that outliers do not move."""
    return 1.4826 * median(np.abs(residuals))


def median(values: Array) -> float:
    """Of (N,) finite values, N >= 1: numpy's own takes several times as long for a few."""
    middle = len(values) // 2
    ordered = np.partition(values, [middle - 1 + len(values) % 2, middle])
    return float(ordered[middle - 1 + len(values) % 2] + ordered[middle]) / 2
