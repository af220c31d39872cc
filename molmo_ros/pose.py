"""Orientation and uncertainty of a waypoint on a surface.

Algebra on vectors in one optical frame (REP-103), metres and radians. Knows nothing of images.
Rotation matrices have the axes of the waypoint as columns; quaternions are (x, y, z, w).
"""

from __future__ import annotations

import cv2
import numpy as np

from molmo_ros.planes import Array, cross

# Without a longest direction the turn about the approach is any of half a circle: uniform.
ANY_TURN_VARIANCE = np.pi**2 / 12


def approach_axes(normal: Array, along: Array) -> Array:
    """Axes (3, 3) with z into the surface and x as near to `along` as the surface allows.

    Where `along` is the normal itself, x is as near as possible to the next axis of the frame.
    """
    z = -normal
    x = along - (along @ z) * z
    if np.linalg.norm(x) < 1e-6:
        other = np.eye(3)[np.abs(z).argmin()]
        x = other - (other @ z) * z
    x = x / np.linalg.norm(x)
    return np.column_stack([x, cross(z, x), z])


def quaternion(axes: Array) -> Array:
    """(x, y, z, w) of a rotation matrix."""
    turn = np.reshape(cv2.Rodrigues(axes)[0], 3).astype(np.float64)
    angle = float(np.linalg.norm(turn))
    axis = turn / angle if angle > 0 else turn
    return np.append(np.sin(angle / 2) * axis, np.cos(angle / 2))


def rotation_matrix(xyzw: Array) -> Array:
    """(3, 3) of a unit quaternion."""
    x, y, z, w = xyzw
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def slerp(start: Array, end: Array, share: float) -> Array:
    """The unit quaternion a share of the way from one to another, by the shorter turn."""
    cosine = float(start @ end)
    if cosine < 0:  # q and -q are the same rotation
        end, cosine = -end, -cosine
    angle = float(np.arccos(min(cosine, 1.0)))
    if angle < 1e-6:
        return start
    return np.asarray(
        (np.sin((1 - share) * angle) * start + np.sin(share * angle) * end) / np.sin(angle)
    )


def position_covariance(
    position: Array, normal: Array, direction_sigma: Array, depth_sigma_m: float
) -> Array:
    """(3, 3) in m^2: a pixel error slides the point over its surface, a depth error along its ray.

    direction_sigma: (3, 2), how far the direction (z = 1) moves in one sigma of u and of v
    """
    direction = position / position[2]
    # While the direction changes, the point stays on the plane normal . p = const.
    slide = np.eye(3) - np.outer(direction, normal) / (normal @ direction)
    lateral = position[2] * slide @ direction_sigma
    along = depth_sigma_m * direction
    return np.asarray(lateral @ lateral.T + np.outer(along, along), np.float64)


def rotation_covariance(normal: Array, normal_covariance: Array, elongation: float) -> Array:
    """(3, 3) in rad^2 about the frame's X, Y, Z: the tilt of the normal and the turn about it.

    elongation: length by width of the surface patch, >= 1; the longer it is, the better is its
        direction known
    """
    x, y, z = normal
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turn = ANY_TURN_VARIANCE / elongation**2
    return np.asarray(cross @ normal_covariance @ cross.T + turn * np.outer(normal, normal))


def rotate_covariance(covariance: Array, rotation: Array) -> Array:
    """A (6, 6) covariance of position and rotation, seen from a frame turned by `rotation`."""
    both = np.kron(np.eye(2), rotation)
    return np.asarray(both @ covariance @ both.T, np.float64)
