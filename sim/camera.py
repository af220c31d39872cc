"""A pinhole camera that looks at a target: intrinsics, pose, projection.

Knows nothing of what it sees. Pixels are (u, v) with 0 at the centre of the first pixel; the
optical frame is REP-103's (x right, y down, z forward); in the world z is up. Metres throughout.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Vector = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Camera:
    """Where a camera stands, what it looks at, and how wide it sees."""

    position_m: Vector
    target_m: Vector
    fovy_deg: float = 50.0  # vertical field of view; f = 514.68 pixels at a height of 480
    roll_deg: float = 0.0  # about the optical axis; at 0 the horizon is level

    def intrinsics(self, width: int, height: int) -> Array:
        """K (3, 3) for a picture of this size: square pixels, centred, no distortion."""
        focal = height / 2 / np.tan(np.radians(self.fovy_deg) / 2)
        return np.array(
            [[focal, 0.0, (width - 1) / 2], [0.0, focal, (height - 1) / 2], [0.0, 0.0, 1.0]]
        )

    @cached_property
    def pose(self) -> Array:
        """(4, 4) from the optical frame to the world."""
        forward = _unit(np.subtract(self.target_m, self.position_m))
        right = _unit(np.cross(forward, [0.0, 0.0, 1.0]))
        down = np.cross(forward, right)
        cos, sin = np.cos(np.radians(self.roll_deg)), np.sin(np.radians(self.roll_deg))
        pose = np.eye(4)
        pose[:3, :3] = np.column_stack(
            [cos * right + sin * down, cos * down - sin * right, forward]
        )
        pose[:3, 3] = self.position_m
        return pose


def project(points_m: npt.ArrayLike, pose: Array, k: Array) -> tuple[Array, Array]:
    """World points (N, 3) -> pixels (N, 2) and depths (N,) along the optical axis."""
    local = (np.asarray(points_m, dtype=float) - pose[:3, 3]) @ pose[:3, :3]
    depth_m = local[:, 2]
    return (local @ k.T)[:, :2] / depth_m[:, None], depth_m


def deproject(pixels: npt.ArrayLike, depth_m: npt.ArrayLike, pose: Array, k: Array) -> Array:
    """Pixels (N, 2) with depths (N,) along the optical axis -> world points (N, 3)."""
    rays = pixel_rays(pixels, k)
    points: Array = (rays * np.asarray(depth_m)[:, None]) @ pose[:3, :3].T + pose[:3, 3]
    return points


def pixel_rays(pixels: npt.ArrayLike, k: Array) -> Array:
    """Pixels (N, 2) -> rays (N, 3) in the optical frame with z = 1."""
    pixels = np.asarray(pixels, dtype=float)
    xy = (pixels - k[:2, 2]) / k[[0, 1], [0, 1]]
    return np.column_stack([xy, np.ones(len(xy))])


def _unit(vector: Array) -> Array:
    unit: Array = vector / np.linalg.norm(vector)
    return unit
