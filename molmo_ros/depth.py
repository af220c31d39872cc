"""The surface that a pixel sees: robust depth, normal and how much to trust them.

Looks at a window around the pixel, keeps what belongs to the pixel's own surface (connected in
depth, never across an edge) and fits a plane to it. A hole is bridged only where everything around
it is one surface. Knows nothing of colours, and nothing of what the model meant to point at.

z depth in metres along the optical axis; windows are (rows, columns) cut out of the depth image
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from molmo_ros.camera import Camera
from molmo_ros.planes import Array, Plane, depth_noise

Depth = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
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
CORRELATED = 4.0  # neighbouring depth pixels share their noise: a patch of 4 counts as one
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

    offsets: (h, w, 2) pixels from the wanted pixel, (u, v); directions: (h, w, 3), z = 1
    centre:  (3,) direction of the wanted pixel itself
    focal:   pixels per radian
    """

    z: Depth
    offsets: Array
    directions: Array
    centre: Array
    radius: int
    focal: float

    @property
    def valid(self) -> Mask:
        return np.isfinite(self.z)

    @property
    def seed(self) -> tuple[int, int]:
        """Row and column of the pixel nearest to the wanted one."""
        row, column = np.unravel_index(np.square(self.offsets).sum(axis=2).argmin(), self.z.shape)
        return int(row), int(column)


@dataclass(frozen=True, eq=False)
class _Fit:
    """A plane through part of a window.

    residuals:  (h, w) measured minus plane, along z; NaN without depth
    covariance: (3, 3) of the normal, per unit variance of inverse depth
    leverage:   variance of the plane's inverse depth at the wanted pixel, likewise
    """

    plane: Plane
    residuals: Array
    covariance: Array
    leverage: float


def find_surface(depth_m: Depth, pixel: Pixel, camera: Camera) -> Surface | None:
    """The surface at a pixel of a depth image (H, W), or None where depth does not tell."""
    for angle in HALF_ANGLES:
        window = _cut(depth_m, pixel, camera, angle)
        own = _connected(window)
        if own.sum() >= MIN_POINTS:
            fit = _grow_fit(window, own)
            if fit is not None:
                return _describe(window, fit, own)
    if own.sum() > SPECK:  # something is there, too small or too thin to be measured
        return None
    return _bridge(depth_m, pixel, camera)


def nearest_pixel(pixel: Pixel, depth_m: Depth) -> tuple[int, int]:
    """Column and row of the depth pixel in which a point between pixels lies."""
    height, width = depth_m.shape
    u, v = pixel
    return min(max(round(u), 0), width - 1), min(max(round(v), 0), height - 1)


def _cut(depth_m: Depth, pixel: Pixel, camera: Camera, angle: float) -> _Window:
    radius = max(2, round(angle * camera.focal))
    u, v = nearest_pixel(pixel, depth_m)
    left, top = max(u - radius, 0), max(v - radius, 0)
    z = depth_m[top : v + radius + 1, left : u + radius + 1]
    rows, columns = np.mgrid[top : top + z.shape[0], left : left + z.shape[1]]
    pixels = np.dstack([columns, rows]).astype(np.float64)
    directions = camera.directions(pixels.reshape(-1, 2)).reshape(*z.shape, 3)
    return _Window(
        z, pixels - pixel, directions, camera.directions(pixel)[0], radius, camera.focal
    )


def _connected(window: _Window) -> Mask:
    """The pixels that are reached from the wanted one without a jump in depth."""
    row, column = window.seed
    blocked = np.pad(~window.valid, 1, constant_values=True).astype(np.uint8)
    if blocked[row + 1, column + 1]:
        return np.zeros(window.z.shape, np.bool_)
    z = float(window.z[row, column])
    step = 4 * float(depth_noise(z)) + STEEPEST * z / window.focal
    flags = 4 | cv2.FLOODFILL_MASK_ONLY | 2 << 8
    image = np.ascontiguousarray(window.z)
    cv2.floodFill(image, blocked, (column, row), 0, step, step, flags)
    return np.asarray(blocked[1:-1, 1:-1] == 2, np.bool_)


def _grow_fit(window: _Window, own: Mask) -> _Fit | None:
    """Fits the pixels nearest to the wanted one, then reaches out as far as the plane holds.

    Starting from the middle keeps the fit on the pixel's own side of a crease.
    """
    distance = np.abs(window.offsets).max(axis=2)
    inside = own & (distance <= max(CENTRE, window.radius / 2))
    if inside.sum() < MIN_POINTS:
        inside = own
    for _ in range(5):  # most settle after two or three
        fit = _fit(window, inside)
        if fit is None:
            return None
        spread = max(_spread(fit.residuals[inside]), 0.5 * _noise(window, fit))
        reached = own & (np.abs(fit.residuals) <= 3 * spread)
        if np.array_equal(reached, inside):
            break
        if reached.sum() < MIN_POINTS:
            return None
        inside = reached
    return fit


def _fit(window: _Window, inside: Mask) -> _Fit | None:
    """Least squares around the wanted pixel: 1/z = a (x - x0) + b (y - y0) + c."""
    x0, y0, _ = window.centre
    lateral = window.directions[inside] - (x0, y0, 0)
    square = lateral.T @ lateral
    if np.linalg.cond(square[:2, :2]) > 1e4:  # all on a line: any plane through it fits
        return None
    inverse = np.linalg.inv(square)
    abc = inverse @ (lateral.T @ (1 / window.z[inside].astype(np.float64)))
    to_weights = np.array([[1, 0, 0], [0, 1, 0], [-x0, -y0, 1]])
    weights = to_weights @ abc
    if abc[2] <= 0:  # behind the camera: noise, no surface
        return None
    plane = Plane.from_inverse(weights)
    along = (np.eye(3) - np.outer(plane.normal, plane.normal)) @ to_weights * plane.offset_m
    return _Fit(
        plane,
        window.z - plane.depths(window.directions.reshape(-1, 3)).reshape(window.z.shape),
        along @ inverse @ along.T,
        float(inverse[2, 2]),
    )


def _bridge(depth_m: Depth, pixel: Pixel, camera: Camera) -> Surface | None:
    """The surface across a hole: only if the hole is small and all around it is one plane."""
    for angle in HOLE_HALF_ANGLES:
        window = _cut(depth_m, pixel, camera, angle)
        around = window.valid & ~_connected(window)  # a speck in the hole is no depth
        if around.sum() < 2 * MIN_POINTS or not _surrounds(window.offsets[around]):
            continue
        fit = _fit(window, around)
        if fit is None:
            return None
        # A twentieth may be the ragged rim of the hole; a second surface is more than that.
        if np.quantile(np.abs(fit.residuals[around]), 0.95) > 4 * _noise(window, fit):
            return None
        return _describe(window, fit, around)
    return None


def _surrounds(offsets: Array) -> bool:
    """Whether pixels at (N, 2) offsets lie in all four quarters around the wanted one."""
    diagonal = offsets[(np.abs(offsets) > 0.5).all(axis=1)]
    return len(np.unique((diagonal > 0) @ (1, 2))) == 4


def _describe(window: _Window, fit: _Fit, own: Mask) -> Surface:
    depth_m, samples = _depth_at_centre(window, fit, own)
    spread = _spread(fit.residuals[own])
    error = max(spread, 0.5 * _noise(window, fit))
    # A median of n is as good as a mean of n / 1.57.
    variance = error**2 * CORRELATED * max(1.57 / samples if samples else 0.0, fit.leverage)
    to_rim = float(np.sqrt(np.square(window.offsets[own]).sum(axis=1).min()))
    variance += (HOLE_SLOPE * to_rim * depth_m / window.focal) ** 2
    far = window.valid & (np.abs(fit.residuals) > max(4 * error, 2 * _noise(window, fit)))
    share = float(far.sum() / window.valid.sum())
    if share > 0:  # the wanted point may as well be on the other surface
        variance += share * (1 - share) * (float(np.median(window.z[far])) - depth_m) ** 2
    return Surface(
        plane=fit.plane,
        depth_m=depth_m,
        depth_sigma_m=float(np.sqrt(variance)),
        normal_covariance=fit.covariance * CORRELATED * (error / depth_m**2) ** 2,
        spread_m=spread,
        valid_fraction=float(window.valid.mean()),
        window=2 * window.radius + 1,
        bimodal=share >= EDGE_SHARE,
    )


def _depth_at_centre(window: _Window, fit: _Fit, own: Mask) -> tuple[float, int]:
    """Depth of the wanted pixel, and how many pixels say so.

    The plane's, moved by the median of the nearest pixels: right on curved things too.
    """
    on_plane = float(fit.plane.depths(window.centre[None])[0])
    nearest = own & (np.abs(window.offsets).max(axis=2) <= CENTRE + 0.5)
    samples = int(nearest.sum())
    if samples < 5:
        return on_plane, 0
    return on_plane + float(np.median(fit.residuals[nearest])), samples


def _spread(residuals: Array) -> float:
    """The standard deviation around the plane that outliers do not move."""
    return float(1.4826 * np.median(np.abs(residuals)))


def _noise(window: _Window, fit: _Fit) -> float:
    return float(depth_noise(fit.plane.depths(window.centre[None])[0]))
