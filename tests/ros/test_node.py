"""What the node answers: it runs in a process of its own and is asked over real DDS."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from conftest import BUNDLE, SIZE
from geometry_msgs.msg import PoseArray, PoseStamped
from robot import FRAME_ID, NodeProcess, bare_table
from sensor_msgs.msg import Image
from std_msgs.msg import String
from visualization_msgs.msg import MarkerArray

from molmo_ros.msg import Answer, Waypoint


def test_words_and_waypoints_stream_before_the_result(host, scene):
    shot, prompt, _ = scene
    host.film(shot)
    goal = host.send(prompt)
    answer = goal.answer()
    assert (goal.status, answer.status) == (GoalStatus.STATUS_SUCCEEDED, Answer.OK)
    told = ""
    for feedback in goal.feedback:
        told += feedback.delta
        assert feedback.text == told
    assert answer.text.startswith(told)  # the result may overtake the last words
    first = next(feedback for feedback in goal.feedback if feedback.waypoints)
    assert len(first.text) < len(answer.text)
    assert first.waypoints[0].u == answer.waypoints[0].u


def test_a_waypoint_is_the_surface_behind_its_pixel(host, scene):
    shot, prompt, (u, v) = scene
    host.film(shot)
    (waypoint,) = host.ask(prompt).waypoints
    assert waypoint.status == Waypoint.OK
    assert np.hypot(waypoint.u - u, waypoint.v - v) < 0.05 * SIZE[0]
    position = waypoint.pose.pose.position
    seen = shot.k @ [position.x / position.z, position.y / position.z, 1.0]
    assert seen[:2] == pytest.approx([waypoint.u, waypoint.v], abs=0.01)  # float32 pixels
    window = shot.depth_m[round(waypoint.v) - 3 :, round(waypoint.u) - 3 :][:7, :7]
    assert window.min() - 0.002 < position.z < window.max() + 0.002  # depth goes in millimetres


def test_everything_published_carries_the_header_of_the_image(host, scene):
    shot, prompt, _ = scene
    kinds = {"waypoints": PoseArray, "waypoint": PoseStamped, "answer": Answer}
    kinds |= {"annotated": Image, "markers": MarkerArray, "text": String}
    heard = {name: host.listen(kind, f"molmo/{name}") for name, kind in kinds.items()}
    host.film(shot)
    answer = host.ask(prompt)
    host.until(lambda: all(heard.values()), "one message on each topic")
    assert answer.header in host.filmed
    assert answer.header.frame_id == FRAME_ID
    assert [waypoint.header for waypoint in answer.waypoints] == [answer.header]
    for name in ("waypoints", "waypoint", "answer", "annotated"):
        assert heard[name][0].header == answer.header, name
    assert {marker.header.frame_id for marker in heard["markers"][0].markers} == {FRAME_ID}
    assert heard["text"][0].data == answer.text
    assert heard["waypoints"][0].poses == [heard["waypoint"][0].pose]
    assert not np.array_equal(pixels(heard["annotated"][0]), shot.rgb)


def test_without_depth_there_are_points_but_no_poses(serving, host, scene):
    shot, prompt, _ = scene
    single, every = (
        host.listen(PoseStamped, "molmo/waypoint"),
        host.listen(PoseArray, "molmo/waypoints"),
    )
    host.film(shot, with_depth=False)
    answer = host.ask(prompt)
    assert [waypoint.status for waypoint in answer.waypoints] == [Waypoint.NO_DEPTH]
    assert np.isnan(answer.waypoints[0].pose.pose.position.z)
    assert answer.waypoints[0].ray.z > 0.5
    host.until(lambda: every, "an empty pose array")
    assert (every[0].poses, single) == ([], [])
    assert "no depth image" in serving.log


def test_a_stale_image_is_not_answered_about(host, scene):
    host.film(scene[0], age_s=5.0)
    goal = host.send(scene[1])
    answer = goal.answer()
    assert (goal.status, answer.status) == (GoalStatus.STATUS_ABORTED, Answer.STALE_FRAME)
    assert "max_frame_age_s" in answer.message
    assert answer.waypoints == []


def test_an_empty_prompt_is_refused_and_the_next_question_answered(host, scene):
    host.film(scene[0])
    assert host.ask("  ").status == Answer.BAD_PROMPT
    assert host.ask(scene[1]).status == Answer.OK


def test_a_prompt_longer_than_the_engine_takes_is_refused(host, scene):
    host.film(scene[0])
    assert host.ask("Point to the red cube. " * 2000).status == Answer.BAD_PROMPT


@pytest.mark.parametrize("goal", [{"camera": "wrist"}, {"timeout_s": -1.0}])
def test_a_goal_that_makes_no_sense_is_rejected(host, goal):
    assert not host.send("Where?", **goal).accepted


def test_the_service_answers_like_the_action(host, scene):
    shot, prompt, _ = scene
    host.film(shot)
    answer, spoken = host.call(prompt), host.ask(prompt)
    assert (answer.text, answer.status) == (spoken.text, Answer.OK)
    assert answer.header in host.filmed
    assert "no camera 'wrist'" in host.call(prompt, camera="wrist").message


def test_cancelling_while_the_model_speaks_keeps_what_was_said(guest):
    guest.film(bare_table())
    goal = guest.send("Go on.")
    guest.until(lambda: goal.feedback, "the first words")
    goal.cancel()
    answer = goal.answer()
    assert (goal.status, answer.status) == (GoalStatus.STATUS_CANCELED, Answer.CANCELED)
    assert answer.text.startswith(goal.feedback[0].text)
    assert np.isnan(answer.decode_ms)


def test_cancelling_while_waiting_for_a_frame(guest):
    goal = guest.send("Go on.")
    goal.cancel()
    assert goal.answer().status == Answer.CANCELED
    assert goal.status == GoalStatus.STATUS_CANCELED


def test_an_answer_ends_at_its_deadline(guest):
    guest.film(bare_table())
    goal = guest.send("Go on.", timeout_s=0.3)
    answer = goal.answer()
    assert (goal.status, answer.status) == (GoalStatus.STATUS_ABORTED, Answer.TIMEOUT)
    assert answer.total_ms > 300


def test_an_unreadable_jpeg_costs_one_answer(robot, logs, scene):
    shot, prompt, _ = scene
    jpeg = cv2.imencode(".jpg", shot.rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    parameters = {"bundle": BUNDLE, "autostart": True, "image_transport": "compressed"}
    with NodeProcess(logs / "jpeg.log", **parameters) as process:
        robot.wait_until_active()
        robot.film(shot, jpeg=b"no JPEG")
        bad = robot.ask(prompt)
        assert bad.status == Answer.BAD_FRAME
        assert bad.header in robot.filmed
        robot.film(shot, jpeg=jpeg)
        # The first may still be about the last unreadable image.
        good = robot.until(lambda: is_ok(robot.ask(prompt)), "a good answer")
        assert good.waypoints[0].status == Waypoint.OK
        assert good.header in robot.filmed
        assert process.stop() == 0, process.log


def is_ok(answer: Answer) -> Answer | None:
    return answer if answer.status == Answer.OK else None


def pixels(image: Image) -> np.ndarray:
    """The (H, W, 3) values of an rgb8 image."""
    return np.frombuffer(image.data, np.uint8).reshape(image.height, image.width, 3)
