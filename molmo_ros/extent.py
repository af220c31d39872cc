"""How far the surface under a waypoint reaches: a hint for the opening of a gripper.

Follows the plane of the waypoint through the depth image as long as pixels stay on it. It measures
a surface patch, not an object: of a can it sees the strip that faces the camera.

h, w rows and columns of a coarse grid of pixels around the waypoint
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from molmo_ros.camera import Camera
from molmo_ros.depth import Depth, Pixel, nearest_pixel
from molmo_ros.noise import STEREO, DepthNoise
from molmo_ros.planes import Array, Mask, Plane, cross

REACH_M = 0.12  # from the waypoint; a longer patch is cut here: no gripper spans it
GRID = 24  # steps from the waypoint to there: cells of 5 mm
ON_PLANE_M = 0.004  # a point may be this far off the plane; more where depth is noisier
CROSSING = 0.8  # sine of the angle to the plane at which a surface only crosses it
ROUND = 1.2  # length by width; below, the patch has no longest direction


@dataclass(frozen=True, eq=False)
class Extent:
    """The patch around a waypoint as the smallest rectangle that holds it.

    direction: (3,) unit, its longer side in the optical frame; None when it is about round
    """

    along_m: float
    across_m: float
    direction: Array | None

    @property
    def elongation(self) -> float:
        """Length by width, 1 when there is no longest direction."""
        return 1.0 if self.direction is None else self.along_m / max(self.across_m, 1e-3)


def measure_extent(
    depth_m: Depth,
    pixel: Pixel,
    position: Array,
    plane: Plane,
    camera: Camera,
    support: Plane | None,
    depth_noise: DepthNoise = STEREO,
) -> Extent | None:
    """The patch of `plane` around a waypoint, without the support unless it lies on that."""
    points, centre, step = _grid_points(depth_m, pixel, float(position[2]), camera)
    noise = depth_noise.sigma_m(points[2])
    tolerance = np.maximum(ON_PLANE_M, 2 * noise)
    # Unknown depth is NaN, and NaN is within no tolerance.
    on_patch = _squared_length(points - position[:, None, None]) <= REACH_M**2
    heights = plane.heights(points.T).T
    on_patch &= (np.abs(heights) <= tolerance) & _follows(heights, points, 1.5 * noise)
    if support is not None and abs(float(support.heights(position))) > 2 * ON_PLANE_M:
        on_patch &= np.abs(support.heights(points.T).T) > tolerance
    patch = _around(centre, on_patch)
    if patch is None:
        return None
    return _rectangle(points[:, patch], plane, step * float(position[2]) / camera.focal)


def _grid_points(
    depth_m: Depth, pixel: Pixel, z: float, camera: Camera
) -> tuple[Array, tuple[int, int], int]:
    """Points (3, h, w) of every n-th pixel within reach, where in it the waypoint is, and n."""
    u, v = nearest_pixel(pixel, depth_m)
    radius = max(2, round(REACH_M * camera.focal / z))
    step = max(1, radius // GRID)
    steps = radius // step
    before_u, before_v = min(steps, u // step), min(steps, v // step)
    columns = np.arange(u - before_u * step, min(u + radius + 1, depth_m.shape[1]), step)
    rows = np.arange(v - before_v * step, min(v + radius + 1, depth_m.shape[0]), step)
    points = camera.grid(columns, rows)
    points *= depth_m[rows[0] : rows[-1] + 1 : step, columns[0] : columns[-1] + 1 : step]
    return points, (before_v, before_u), step


def _squared_length(vectors: Array) -> Array:
    """(3, h, w) -> (h, w)."""
    x, y, z = np.square(vectors)
    return np.asarray(x + y + z)


def _follows(heights: Array, points: Array, noise: Array) -> Mask:
    """Where a surface runs along the plane, on one side at least, both across and down."""
    x: Mask = np.zeros(heights.shape, np.bool_)
    y = x.copy()
    gentle = _is_gentle(np.diff(heights, axis=1), np.diff(points, axis=2), noise[:, 1:])
    x[:, 1:] |= gentle
    x[:, :-1] |= gentle
    gentle = _is_gentle(np.diff(heights, axis=0), np.diff(points, axis=1), noise[1:])
    y[1:] |= gentle
    y[:-1] |= gentle
    x &= y
    return x


def _is_gentle(rise: Array, travel: Array, noise: Array) -> Mask:
    allowed = np.maximum(CROSSING**2 * _squared_length(travel), np.square(noise))
    return np.asarray(np.square(rise) <= allowed, np.bool_)


def _around(centre: tuple[int, int], on_patch: Mask) -> Mask | None:
    """The connected part of a mask (h, w) at a place, or within two steps of it (a hole)."""
    _, labels = cv2.connectedComponents(on_patch.astype(np.uint8), connectivity=4)
    row, column = centre
    near = labels[max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3]
    label = labels[row, column] or near.max()
    return labels == label if label else None


def _rectangle(points: Array, plane: Plane, cell_m: float) -> Extent:
    """The smallest rectangle on the plane around (3, N) points, each the centre of a cell."""
    across = cross(plane.normal, (0.0, 1.0, 0.0))
    if np.linalg.norm(across) < 1e-3:
        across = cross(plane.normal, (1.0, 0.0, 0.0))
    basis = np.stack([across, cross(plane.normal, across)]) / np.linalg.norm(across)
    (_, sides, degrees) = cv2.minAreaRect((basis @ points).T.astype(np.float32))
    angle = math.radians(degrees if sides[0] >= sides[1] else degrees + 90)
    along, width = max(sides) + cell_m, min(sides) + cell_m
    direction = np.array([math.cos(angle), math.sin(angle)]) @ basis
    return Extent(along, width, direction if along > ROUND * width else None)
