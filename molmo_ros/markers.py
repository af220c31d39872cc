"""Draws waypoints for RViz and Foxglove: the point, the approach, the words, how sure it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from geometry_msgs.msg import Point, Quaternion, Vector3
from rclpy.duration import Duration
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from molmo_ros.msg import Waypoint
from molmo_ros.pose import quaternion

BALL_M = 0.015
ARROW_M = 0.08  # length; the arrow ends at the surface
TEXT_M = 0.025
LIFETIME_S = 30.0  # an answer nobody renews fades away
SIGMAS_90 = 2.5003  # radius in sigmas that holds 90 % of a normal distribution in space
THIN_M = 1e-4  # viewers complain of bodies without thickness
PINK = ColorRGBA(r=0.94, g=0.32, b=0.61, a=1.0)
GLASS = ColorRGBA(r=0.94, g=0.32, b=0.61, a=0.3)
WHITE = ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0)


def markers(
    header: Header, waypoints: Sequence[Waypoint], lifetime_s: float = LIFETIME_S
) -> MarkerArray:
    """Replaces whatever was drawn before by these waypoints, which must have a valid pose.

    lifetime_s: after which they fade away; 0 keeps them
    """
    drawn = [Marker(header=header, action=Marker.DELETEALL)]
    for number, waypoint in enumerate(waypoints):  # an index is unique within one answer only
        for marker in (_ball(waypoint), _arrow(waypoint), _words(waypoint), *_ellipsoid(waypoint)):
            marker.id = number
            marker.lifetime = Duration(seconds=lifetime_s).to_msg()
            drawn.append(marker)
    return MarkerArray(markers=drawn)


def _ball(waypoint: Waypoint) -> Marker:
    marker = _marker(waypoint, "point", Marker.SPHERE, PINK)
    marker.pose = waypoint.pose.pose
    marker.scale = Vector3(x=BALL_M, y=BALL_M, z=BALL_M)
    return marker


def _arrow(waypoint: Waypoint) -> Marker:
    """From outside along the approach axis to the surface."""
    marker = _marker(waypoint, "approach", Marker.ARROW, PINK)
    marker.points = [_above(waypoint, ARROW_M), _above(waypoint, 0.0)]
    marker.scale = Vector3(x=BALL_M / 3, y=BALL_M, z=BALL_M)  # shaft, head, length of the head
    return marker


def _words(waypoint: Waypoint) -> Marker:
    marker = _marker(waypoint, "label", Marker.TEXT_VIEW_FACING, WHITE)
    marker.pose.position = _above(waypoint, ARROW_M + TEXT_M)
    marker.scale.z = TEXT_M
    marker.text = waypoint.label or str(waypoint.index)
    return marker


def _ellipsoid(waypoint: Waypoint) -> list[Marker]:
    """Where the point lies with a probability of 90 %; nothing where its covariance is unknown."""
    covariance = np.reshape(waypoint.pose.covariance, (6, 6))[:3, :3]
    if not np.isfinite(covariance).all():
        return []
    variances, axes = np.linalg.eigh(covariance)
    axes[:, 0] *= np.sign(np.linalg.det(axes))  # a rotation, not a reflection
    diameters_m = np.maximum(2 * SIGMAS_90 * np.sqrt(np.maximum(variances, 0)), THIN_M)
    marker = _marker(waypoint, "uncertainty", Marker.SPHERE, GLASS)
    marker.pose.position = waypoint.pose.pose.position
    marker.pose.orientation = Quaternion(**_named("xyzw", quaternion(axes)))
    marker.scale = Vector3(**_named("xyz", diameters_m))
    return [marker]


def _marker(waypoint: Waypoint, namespace: str, kind: int, color: ColorRGBA) -> Marker:
    marker = Marker(header=waypoint.header, ns=namespace, type=kind)
    marker.pose.orientation.w = 1.0
    marker.color = color
    return marker


def _above(waypoint: Waypoint, distance_m: float) -> Point:
    """The point at a distance from the surface, along its normal."""
    position, normal = waypoint.pose.pose.position, waypoint.normal
    start = np.array([position.x, position.y, position.z])
    along = np.array([normal.x, normal.y, normal.z])
    return Point(**_named("xyz", start + distance_m * along))


def _named(names: str, values: Sequence[float]) -> dict[str, float]:
    return {name: float(value) for name, value in zip(names, values, strict=True)}
