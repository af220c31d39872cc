"""The node's waypoints in another frame, over real DDS."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import BUNDLE
from geometry_msgs.msg import PoseArray, PoseStamped
from rclpy.time import Time
from robot import FRAME_ID, NodeProcess
from visualization_msgs.msg import MarkerArray

from molmo_ros.msg import Answer, Waypoint
from molmo_ros.pose import quaternion, rotation_matrix

SPEED_M_S = 5.0
FORWARD = quaternion(
    np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
)  # z of the eye is x of the base


@pytest.fixture
def aimed(host):
    """The node, told to answer in the base; told otherwise afterwards."""
    assert host.set_parameter("target_frame", "base")
    yield host
    assert host.set_parameter("target_frame", "")
    assert host.set_parameter("tf_timeout_s", 0.2)


def xyz(vector):
    return np.array([vector.x, vector.y, vector.z])


def seen_at(waypoint, k):
    """The pixel at which a camera without any transform would see an optical position."""
    return (k @ waypoint / waypoint[2])[:2]


def test_waypoints_and_standard_messages_are_in_the_target_frame(aimed, scene):  # noqa: F811
    shot, prompt, _ = scene
    aimed.mount("base", FRAME_ID, (0.1, 0.2, 0.5), FORWARD)
    kinds = {"waypoints": PoseArray, "waypoint": PoseStamped, "markers": MarkerArray}
    heard = {name: aimed.listen(kind, f"molmo/{name}") for name, kind in kinds.items()}
    aimed.film(shot)
    answer = aimed.until(lambda: settled(aimed.ask(prompt)), "transformed waypoints")
    aimed.until(
        lambda: (
            all(heard.values())
            and heard["waypoints"][-1].poses
            and heard["markers"][-1].markers[1:]
        ),
        "poses and markers of an answer whose transform was known",
    )
    (waypoint,) = answer.waypoints
    assert (answer.header.frame_id, answer.message) == (FRAME_ID, "")
    assert (waypoint.header.frame_id, waypoint.optical_frame) == ("base", FRAME_ID)
    assert waypoint.header.stamp == answer.header.stamp
    optical = rotation_matrix(FORWARD).T @ (xyz(waypoint.pose.pose.position) - [0.1, 0.2, 0.5])
    assert seen_at(optical, shot.k) == pytest.approx([waypoint.u, waypoint.v], abs=0.01)
    np.testing.assert_allclose(xyz(waypoint.ray), optical / np.linalg.norm(optical), atol=1e-6)
    for name in ("waypoints", "waypoint"):
        assert heard[name][-1].header == waypoint.header, name
    drawn = heard["markers"][-1].markers[1:]
    assert {marker.header.frame_id for marker in drawn} == {"base"}


def test_a_frame_that_nobody_knows_costs_the_transform_and_not_the_answer(serving, aimed, scene):  # noqa: F811
    shot, prompt, _ = scene
    assert aimed.set_parameter("target_frame", "mars")
    poses = aimed.listen(PoseArray, "molmo/waypoints")
    aimed.film(shot)
    answer = aimed.ask(prompt)
    (waypoint,) = answer.waypoints
    assert (answer.status, waypoint.status) == (Answer.OK, Waypoint.NO_TF)
    assert waypoint.header == answer.header
    position = xyz(waypoint.pose.pose.position)
    assert seen_at(position, shot.k) == pytest.approx([waypoint.u, waypoint.v], abs=0.01)
    assert f"the pose of '{FRAME_ID}' in 'mars' is not known" in answer.message
    assert answer.message in serving.log
    aimed.until(lambda: poses, "an empty pose array")
    assert poses[-1].poses == []


def test_the_camera_is_where_it_was_when_it_saw_and_not_where_it_went(robot, logs, scene):  # noqa: F811
    shot, prompt, _ = scene
    start_s = robot.node.get_clock().now().nanoseconds * 1e-9

    def x_at(stamp) -> float:
        return SPEED_M_S * (Time.from_msg(stamp).nanoseconds * 1e-9 - start_s)

    def move() -> None:
        now = robot.node.get_clock().now().to_msg()
        robot.move(now, "rail", FRAME_ID, (x_at(now), 0, 0), (0, 0, 0, 1))

    parameters = {"bundle": BUNDLE, "autostart": True, "target_frame": "rail"}
    with NodeProcess(logs / "rail.log", **parameters):
        robot.wait_until_active()
        robot.node.create_timer(0.02, move)
        robot.film(shot)
        answer = robot.until(lambda: settled(robot.ask(prompt)), "an answer about a moving camera")
    (waypoint,) = answer.waypoints
    optical = np.linalg.inv(shot.k) @ [waypoint.u, waypoint.v, 1.0] * waypoint.depth_m
    expected = optical + [x_at(answer.header.stamp), 0, 0]
    # 5 mm a millisecond: the pose of any other moment, the answer's above all, is far from this
    np.testing.assert_allclose(xyz(waypoint.pose.pose.position), expected, atol=1e-3)


def test_waiting_for_a_transform_can_be_cancelled(aimed, scene):  # noqa: F811
    shot, prompt, _ = scene
    assert aimed.set_parameter("target_frame", "venus")
    assert aimed.set_parameter("tf_timeout_s", 10.0)
    aimed.film(shot)
    goal = aimed.send(prompt)
    filmed = len(aimed.filmed)
    aimed.until(lambda: len(aimed.filmed) > filmed + 15, "half a second, for a frame to be taken")
    goal.cancel()
    answer = goal.answer()
    assert (answer.status, answer.text) == (Answer.CANCELED, "")
    assert answer.header in aimed.filmed  # the frame was there, only its transform was not
    assert answer.total_ms < 5000  # far below tf_timeout_s


def settled(answer: Answer) -> Answer | None:
    """An answer whose transform was there in time."""
    return answer if [w.status for w in answer.waypoints] == [Waypoint.OK] else None
