"""What is drawn of waypoints, compared with numbers computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from geometry_msgs.msg import Point, Vector3
from std_msgs.msg import Header
from visualization_msgs.msg import Marker

from molmo_ros.markers import LIFETIME_S, markers
from molmo_ros.msg import Waypoint
from molmo_ros.pose import rotation_matrix

COS_30, SIN_30 = math.sqrt(0.75), 0.5


@pytest.fixture
def waypoint() -> Waypoint:
    """Known to 4 mm along an axis 30 degrees from x, to 1 mm across it, and to 2 mm along z."""
    waypoint = Waypoint(header=Header(frame_id="eye"), index=3, label="mug")
    waypoint.pose.pose.position = Point(x=0.1, y=0.2, z=0.5)
    waypoint.normal = Vector3(x=0.0, y=0.0, z=-1.0)
    covariance = np.zeros((6, 6))
    covariance[:3, :3] = 1e-6 * np.array(  # 16 c^2 + s^2, 15 c s, 16 s^2 + c^2 of 30 degrees
        [[12.25, 15 * COS_30 * SIN_30, 0], [15 * COS_30 * SIN_30, 4.75, 0], [0, 0, 4]]
    )
    waypoint.pose.covariance = covariance.ravel()
    return waypoint


def drawn(*waypoints: Waypoint, **how: float) -> list[Marker]:
    return list(markers(Header(frame_id="eye"), waypoints, **how).markers)


def ellipsoid(*waypoints: Waypoint) -> Marker:
    (found,) = (marker for marker in drawn(*waypoints) if marker.ns == "uncertainty")
    return found


def axes_and_radii(marker: Marker) -> tuple[np.ndarray, np.ndarray]:
    turn, size = marker.pose.orientation, marker.scale
    axes = rotation_matrix(np.array([turn.x, turn.y, turn.z, turn.w]))
    return axes, np.array([size.x, size.y, size.z]) / 2


def test_everything_old_is_deleted_first(waypoint):
    assert [marker.action for marker in drawn()] == [Marker.DELETEALL]
    first, *others = drawn(waypoint)
    assert first.action == Marker.DELETEALL
    assert {marker.action for marker in others} == {Marker.ADD}


def test_a_waypoint_is_a_point_an_approach_a_label_and_an_ellipsoid(waypoint):
    namespaces = [marker.ns for marker in drawn(waypoint)[1:]]
    assert namespaces == ["point", "approach", "label", "uncertainty"]


def test_no_two_markers_share_a_name(waypoint):
    other = Waypoint(header=waypoint.header, index=4, pose=waypoint.pose)
    names = [(marker.ns, marker.id) for marker in drawn(waypoint, other)[1:]]
    assert len(names) == len(set(names)) == 8


def test_the_ellipsoid_has_the_axes_of_the_covariance(waypoint):
    marker = ellipsoid(waypoint)
    assert marker.pose.position == waypoint.pose.pose.position
    axes, radii_m = axes_and_radii(marker)
    assert radii_m == pytest.approx(2.5003 * np.array([0.001, 0.002, 0.004]), rel=1e-4)
    longest, middle = axes[:, 2], axes[:, 1]
    assert abs(longest @ [COS_30, SIN_30, 0]) == pytest.approx(1)
    assert abs(middle @ [0, 0, 1]) == pytest.approx(1)


def test_nine_of_ten_points_lie_in_the_ellipsoid(waypoint):
    covariance = np.reshape(waypoint.pose.covariance, (6, 6))[:3, :3]
    points = np.random.default_rng(0).multivariate_normal(np.zeros(3), covariance, 20_000)
    axes, radii_m = axes_and_radii(ellipsoid(waypoint))
    inside = (((points @ axes) / radii_m) ** 2).sum(axis=1) < 1
    assert inside.mean() == pytest.approx(0.9, abs=0.01)  # one sigma of the sample: 0.002


def test_a_flat_covariance_still_gives_a_body(waypoint):
    waypoint.pose.covariance = np.diag([1e-6, 0, 0, 0, 0, 0]).ravel()
    assert min(axes_and_radii(ellipsoid(waypoint))[1]) > 0


def test_an_unknown_covariance_is_not_drawn(waypoint):
    waypoint.pose.covariance = np.full(36, np.nan)
    assert "uncertainty" not in [marker.ns for marker in drawn(waypoint)]


@pytest.mark.parametrize("lifetime_s", [0.0, 2.5])
def test_markers_live_as_long_as_told(waypoint, lifetime_s):
    for marker in drawn(waypoint, lifetime_s=lifetime_s)[1:]:
        assert marker.lifetime.sec + 1e-9 * marker.lifetime.nanosec == lifetime_s
    assert drawn(waypoint)[1].lifetime.sec == LIFETIME_S
