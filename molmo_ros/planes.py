"""Planes under pixels: fitting one, and finding the one that a scene rests on.

Works on directions (x/z, y/z, 1) and depths in one camera's optical frame, in metres. A plane is
linear in inverse depth: 1/z = w . (x/z, y/z, 1), and the noise of inverse depth hardly depends on
distance, so that an ordinary least-squares fit is the right one. Knows nothing of images.

N points
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from molmo_ros.noise import STEREO, DepthNoise

Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

# Planes tried at once. Larger products wake BLAS's threads, and where an engine's threads hold the
# other cores, waiting for them takes twenty times as long as the product.
TRIED = 20
HYPOTHESES = 200  # finds a plane that holds 30 % of the points with 99.5 % certainty
SUPPORT_SHARE = 0.2  # of all points; what holds fewer is no support


@dataclass(frozen=True, eq=False)
class Plane:
    """All points p with normal . p + offset_m = 0.

    normal:   (3,) unit, on the camera's side
    offset_m: distance of the camera from the plane, positive
    """

    normal: Array
    offset_m: float

    @classmethod
    def from_inverse(cls, weights: Array) -> Plane:
        """From w of 1/z = w . (x/z, y/z, 1)."""
        length = float(np.linalg.norm(weights))
        return cls(-weights / length, 1 / length)

    def depths(self, directions: Array) -> Array:
        """Where rays meet the plane: (N, 3) with z = 1 -> (N,) metres along z; inf if never."""
        return inverted(-(directions @ self.normal) / self.offset_m)

    def heights(self, points: Array) -> Array:
        """Distances of points (..., 3) from the plane, positive on the camera's side."""
        return np.asarray(points @ self.normal + self.offset_m, np.float64)


def inverted(inverse: Array) -> Array:
    """Depths of inverse depths; inf where a ray never meets the plane."""
    with np.errstate(divide="ignore"):
        return np.where(inverse > 0, 1 / inverse, np.inf)


def cross(a: Sequence[float] | Array, b: Sequence[float] | Array) -> Array:
    """The cross product of two vectors (3,); numpy's, made for many, takes ten times as long."""
    (ax, ay, az), (bx, by, bz) = a, b
    return np.array([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])


def fit_plane(directions: Array, depth_m: Array) -> Plane:
    """The least-squares plane of (N, 3) directions seen at (N,) depths, N >= 3."""
    weights, *_ = np.linalg.lstsq(directions, 1 / depth_m, rcond=None)
    return Plane.from_inverse(np.asarray(weights, np.float64))


def find_dominant_plane(
    directions: Array, depth_m: Array, noise: DepthNoise = STEREO
) -> Plane | None:
    """The plane that holds most points, or None when none holds a fifth of them (RANSAC).

    Samples with a fixed seed: the same picture always has the same plane.
    """
    if len(depth_m) < 3 / SUPPORT_SHARE:
        return None
    points = directions * depth_m[:, None]
    tolerance = 2 * noise.sigma_m(depth_m)
    inside = _best_sample(points, tolerance)
    for _ in range(3):  # each refit reaches a little further
        if inside.mean() < SUPPORT_SHARE:
            return None
        plane = fit_plane(directions[inside], depth_m[inside])
        inside = np.abs(plane.heights(points)) <= tolerance
    return plane


def _best_sample(points: Array, tolerance: Array) -> Mask:
    """Inliers (N,) of the best plane through three random points."""
    rng = np.random.default_rng(0)
    corners = points[rng.integers(0, len(points), (HYPOTHESES, 3))]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    normals = normals / np.maximum(lengths, 1e-12)
    offsets = np.sum(normals * corners[:, 0], axis=1)
    offsets[lengths[:, 0] < 1e-9] = np.inf  # three points on a line: far from everything
    return max(
        (
            _inside(points, tolerance, normals[first:][:TRIED], offsets[first:][:TRIED])
            for first in range(0, HYPOTHESES, TRIED)
        ),
        key=np.count_nonzero,
    )


def _inside(points: Array, tolerance: Array, normals: Array, offsets: Array) -> Mask:
    """Inliers (N,) of that one of a few planes which has most."""
    inside = np.abs(normals @ points.T - offsets[:, None]) <= tolerance
    return np.asarray(inside[np.count_nonzero(inside, axis=1).argmax()], np.bool_)
