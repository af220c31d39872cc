"""What a pick-and-place program makes of a waypoint. Plain functions: no node, no motion."""

from __future__ import annotations

import math

import numpy as np
from geometry_msgs.msg import Point, Pose, PoseStamped

from molmo_ros.msg import Waypoint
from molmo_ros.pose import rotation_matrix


def approach(waypoint: Waypoint, distance_m: float) -> PoseStamped:
    """The pose from which a gripper moves distance_m along +z to be at the waypoint.

    Stamp and frame are those of the waypoint. Raises ValueError where its pose is not valid.
    """
    if waypoint.status != Waypoint.OK:
        raise ValueError(
            f"the waypoint '{waypoint.label}' has status {waypoint.status}, wanted OK: "
            "it has no pose to go to"
        )
    if not math.isfinite(distance_m):
        raise ValueError(f"distance_m is {distance_m}, wanted metres")
    pose = waypoint.pose.pose
    turn, at = pose.orientation, pose.position
    forward = rotation_matrix(np.array([turn.x, turn.y, turn.z, turn.w]))[:, 2]
    x, y, z = np.array([at.x, at.y, at.z]) - distance_m * forward
    start = Pose(position=Point(x=float(x), y=float(y), z=float(z)), orientation=turn)
    return PoseStamped(header=waypoint.header, pose=start)


def sigma_m(waypoint: Waypoint) -> float:
    """Standard deviation of the position in its worst direction; NaN without a position."""
    covariance = np.reshape(waypoint.pose.covariance, (6, 6))[:3, :3]
    return math.nan if np.isnan(covariance).any() else float(np.linalg.norm(covariance, 2) ** 0.5)
