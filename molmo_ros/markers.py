"""Draws waypoints for RViz and Foxglove: a ball on the surface, an arrow into it, the words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from geometry_msgs.msg import Point, Vector3
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from molmo_ros.msg import Waypoint

BALL_M = 0.015
ARROW_M = 0.08  # length; the arrow ends at the surface
TEXT_M = 0.025
LIFETIME_S = 30  # an answer nobody renews fades away
PINK = ColorRGBA(r=0.94, g=0.32, b=0.61, a=1.0)
WHITE = ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0)


def markers(header: Header, waypoints: Sequence[Waypoint]) -> MarkerArray:
    """Replaces whatever was drawn before by these waypoints, which must have a valid pose."""
    drawn = [Marker(header=header, action=Marker.DELETEALL)]
    for number, waypoint in enumerate(waypoints):  # an index is unique within one answer only
        for marker in (_ball(waypoint), _arrow(waypoint), _words(waypoint)):
            marker.id = number
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


def _marker(waypoint: Waypoint, namespace: str, kind: int, color: ColorRGBA) -> Marker:
    marker = Marker(header=waypoint.header, ns=namespace, type=kind)
    marker.pose.orientation.w = 1.0
    marker.color = color
    marker.lifetime.sec = LIFETIME_S
    return marker


def _above(waypoint: Waypoint, distance_m: float) -> Point:
    """The point at a distance from the surface, along its normal."""
    position, normal = waypoint.pose.pose.position, waypoint.normal
    start = np.array([position.x, position.y, position.z])
    x, y, z = start + distance_m * np.array([normal.x, normal.y, normal.z])
    return Point(x=float(x), y=float(y), z=float(z))
