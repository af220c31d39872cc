"""What goes out about points with and without depth, on a view that needs no camera."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from visualization_msgs.msg import Marker

from molmo_engine.records import Answer, PointFound, Timings, Usage
from molmo_model.points import Point
from molmo_ros import messages, msg
from molmo_ros.asking import Located, Question, Reply
from molmo_ros.camera import Camera
from molmo_ros.ending import Ending
from molmo_ros.frames import Frame, View
from molmo_ros.markers import ARROW_M, markers

WALL_M = 0.5
SEEN, UNSEEN = (70.0, 40.0), (20.0, 40.0)  # pixels with and without depth


@pytest.fixture
def reply() -> Reply:
    """Two points on a wall straight ahead, whose left half has no depth."""
    k = np.array([[100.0, 0, 49.5], [0, 100.0, 39.5], [0, 0, 1]])
    depth_m = np.full((80, 100), WALL_M, np.float32)
    depth_m[:, :50] = np.nan
    camera = Camera(100, 80, k, np.zeros(0), "", "eye")
    view = View(np.zeros((80, 100, 3), np.uint8), depth_m, camera)
    found = [
        PointFound(Point(u, v / 0.8, label), (u, v), 0.75)
        for (u, v), label in ((UNSEEN, "left"), (SEEN, "right"))
    ]
    question = Question(request_id="7", prompt="Where?", timeout_s=1.0, is_cancelled=lambda: False)
    return Reply(
        question,
        frame=Frame(Image(header=Header(frame_id="eye")), 3.0),
        view=view,
        points=[Located(each, view.locate(each.pixel)) for each in found],
    )


def test_a_waypoint_on_a_wall_points_into_it(reply):
    _, waypoint = messages.waypoints(reply, age_s=0.25)
    assert (waypoint.status, waypoint.index, waypoint.label) == (msg.Waypoint.OK, 1, "right")
    assert (waypoint.u, waypoint.v, waypoint.image_width, waypoint.image_height) == (
        *SEEN,
        100,
        80,
    )
    position = waypoint.pose.pose.position
    assert [position.x, position.y, position.z] == pytest.approx(
        [0.205 * WALL_M, 0.005 * WALL_M, WALL_M], abs=1e-6
    )
    normal = waypoint.normal
    assert [normal.x, normal.y, normal.z] == pytest.approx([0, 0, -1], abs=1e-6)
    turned = waypoint.pose.pose.orientation  # +z into the wall is the camera's own +z
    assert math.hypot(turned.x, turned.y) == pytest.approx(0, abs=1e-6)
    assert waypoint.pose.covariance[0] > 0
    assert (waypoint.confidence, waypoint.age_s) == (0.75, 0.25)


def test_without_depth_only_pixel_and_ray_are_known(reply):
    waypoint, _ = messages.waypoints(reply, age_s=0.25)
    assert waypoint.status == msg.Waypoint.NO_DEPTH
    assert waypoint.ray.z > 0.9
    assert math.isnan(waypoint.pose.pose.position.x)
    assert math.isnan(waypoint.pose.pose.orientation.w)
    assert np.isnan(waypoint.pose.covariance).all()
    assert math.isnan(waypoint.height_m)


def test_standard_messages_carry_usable_waypoints_only(reply):
    waypoints = messages.waypoints(reply, age_s=0.0)
    usable = messages.usable(waypoints)
    assert [waypoint.label for waypoint in usable] == ["right"]
    array = messages.pose_array(messages.header(reply), usable)
    assert (array.header.frame_id, array.poses) == ("eye", [waypoints[1].pose.pose])


def test_stages_that_nobody_measured_are_unknown(reply):
    reply.end(Ending.CANCELED, "cancelled")
    answer = messages.answer(reply, 0.5, "model", "engine")
    assert (answer.request_id, answer.status, answer.frame_age_s) == (
        "7",
        msg.Answer.CANCELED,
        0.5,
    )
    assert math.isnan(answer.vision_ms)
    assert math.isnan(answer.first_waypoint_ms)


def test_the_stages_of_a_whole_answer_are_passed_on(reply):
    timings = Timings(vision_ms=4.0, prefill_ms=8.0)
    reply.answer = Answer(text="a", timings=timings, usage=Usage(prompt_tokens=40))
    answer = messages.answer(reply, 0.5, "model", "engine")
    assert (answer.vision_ms, answer.prefill_ms, answer.prompt_tokens) == (4.0, 8.0, 40)
    assert (answer.model, answer.engine) == ("model", "engine")


def test_the_arrow_ends_where_the_gripper_should(reply):
    usable = messages.usable(messages.waypoints(reply, age_s=0.0))
    first, *drawn = markers(messages.header(reply), usable).markers
    assert first.action == Marker.DELETEALL
    (arrow,) = (marker for marker in drawn if marker.type == Marker.ARROW)
    tail, tip = arrow.points
    assert tip.z == pytest.approx(WALL_M, abs=1e-6)
    assert tail.z == pytest.approx(WALL_M - ARROW_M, abs=1e-6)
    assert [marker.text for marker in drawn if marker.text] == ["right"]
