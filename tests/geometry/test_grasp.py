"""What a gripper is told: numbers computed by hand."""

import numpy as np
import pytest
from geometry_msgs.msg import Point, Quaternion

from molmo_ros.grasp import approach, sigma_m
from molmo_ros.msg import Waypoint


@pytest.fixture
def waypoint():
    """Half a metre ahead, approached along the frame's -x: +z is turned by -90 degrees about y."""
    waypoint = Waypoint(label="mug")
    waypoint.header.frame_id = "eye"
    waypoint.header.stamp.sec = 7
    waypoint.pose.pose.position = Point(x=0.1, y=0.2, z=0.5)
    waypoint.pose.pose.orientation = Quaternion(x=0.0, y=-np.sqrt(0.5), z=0.0, w=np.sqrt(0.5))
    return waypoint


def test_an_approach_starts_off_the_surface_and_keeps_turn_stamp_and_frame(waypoint):
    start = approach(waypoint, 0.05)
    position = start.pose.position
    assert [position.x, position.y, position.z] == pytest.approx([0.15, 0.2, 0.5])
    assert start.pose.orientation == waypoint.pose.pose.orientation
    assert start.header == waypoint.header


def test_an_approach_leaves_the_waypoint_alone(waypoint):
    approach(waypoint, 0.05)
    assert waypoint.pose.pose.position == Point(x=0.1, y=0.2, z=0.5)


@pytest.mark.parametrize(
    "status", [Waypoint.NO_DEPTH, Waypoint.NO_TF, Waypoint.NO_CAMERA_INFO, Waypoint.LOST]
)
def test_what_has_no_pose_is_not_approached(waypoint, status):
    waypoint.status = status
    with pytest.raises(ValueError, match=f"'mug' has status {status}, wanted OK"):
        approach(waypoint, 0.05)


def test_a_distance_that_is_no_number_is_refused(waypoint):
    with pytest.raises(ValueError, match="distance_m is nan"):
        approach(waypoint, float("nan"))


def test_sigma_is_that_of_the_worst_direction(waypoint):
    # 4 mm along (1, 1, 0), 1 mm across: [[8.5, 7.5], [7.5, 8.5]] mm^2; and 2 mm along z.
    covariance = np.zeros((6, 6))
    covariance[:2, :2] = np.array([[8.5, 7.5], [7.5, 8.5]]) * 1e-6
    covariance[2, 2] = 4e-6
    covariance[3:, 3:] = 9.0  # of the rotation: not asked for
    waypoint.pose.covariance = covariance.ravel()
    assert sigma_m(waypoint) == pytest.approx(0.004)


def test_without_a_position_sigma_is_unknown(waypoint):
    waypoint.pose.covariance = np.full(36, np.nan)
    assert np.isnan(sigma_m(waypoint))
