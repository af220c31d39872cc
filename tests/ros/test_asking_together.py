"""Several questions at once, in every mode, and the one that stands: asked over real DDS."""

from __future__ import annotations

import time

import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from conftest import BUNDLE
from robot import NodeProcess, Robot, Shot, bare_table
from std_msgs.msg import String

from molmo_ros.msg import Answer
from molmo_sim.questions import questions_about
from molmo_sim.render import open_renderer
from molmo_sim.scene import sample_scene

SIZE = (320, 240)


@pytest.fixture(scope="module")
def table() -> tuple[Shot, list]:
    """A rendered table and questions about it."""
    renderer = open_renderer(*SIZE)
    scene = sample_scene(11)
    frame = renderer.render(scene)
    renderer.close()
    shot = Shot(frame.rgb, frame.depth_m, scene.camera.intrinsics(*SIZE))
    return shot, questions_about(scene, frame, np.random.default_rng(0))


@pytest.fixture
def busy(guest):
    """The guest, with a question under way that takes seconds."""
    guest.film(bare_table())
    goal = guest.send("Go on.")
    guest.until(lambda: goal.feedback, "the first words")
    yield guest, goal
    goal.cancel()
    goal.answer()
    assert guest.set_parameter("queue_policy", "queue")
    assert guest.set_parameter("queue_size", 4)


def test_reject_ends_a_second_question_at_once(busy):
    guest, running = busy
    assert guest.set_parameter("queue_policy", "reject")
    second = guest.send("And?")
    answer = second.answer()
    assert (second.status, answer.status) == (GoalStatus.STATUS_ABORTED, Answer.BUSY)
    assert "queue_policy" in answer.message
    assert not running.is_over()


def test_replace_ends_the_running_question_and_answers_the_new_one(busy):
    guest, running = busy
    assert guest.set_parameter("queue_policy", "replace")
    second = guest.send("And?")
    replaced = running.answer()
    assert (running.status, replaced.status) == (GoalStatus.STATUS_ABORTED, Answer.REPLACED)
    assert replaced.text
    guest.until(lambda: second.feedback, "words of the second question")
    second.cancel()
    assert second.answer().status == Answer.CANCELED


def test_a_question_waits_for_its_turn(busy):
    guest, running = busy
    second = guest.send("And?")
    running.cancel()
    guest.until(lambda: second.feedback, "words of the second question")
    assert running.answer().status == Answer.CANCELED
    second.cancel()
    assert second.answer().wait_ms > 0


def test_a_question_that_waits_can_be_cancelled_and_can_be_late(busy):
    guest, running = busy
    waiting, late = guest.send("And?"), guest.send("And?", timeout_s=0.2)
    assert late.answer().status == Answer.TIMEOUT
    waiting.cancel()
    assert (waiting.answer().status, waiting.status) == (
        Answer.CANCELED,
        GoalStatus.STATUS_CANCELED,
    )
    assert not running.is_over()
    assert not waiting.feedback + late.feedback


def test_more_questions_than_may_wait_are_refused(busy):
    guest, _ = busy
    assert guest.set_parameter("queue_size", 1)
    waiting, refused = guest.send("And?"), guest.send("And?")
    assert refused.answer().status == Answer.BUSY
    waiting.cancel()
    assert waiting.answer().status == Answer.CANCELED


def test_deactivating_ends_those_that_wait_too(busy):
    guest, running = busy
    waiting = guest.send("And?")
    assert guest.transition("deactivate")
    assert [goal.answer().status for goal in (running, waiting)] == [Answer.CANCELED] * 2
    assert guest.transition("activate")


def test_things_are_pointed_to_by_name(host, table):
    shot, questions = table
    question = next(q for q in questions if q.kind == "point" and q.count == 1)
    host.film(shot)
    named = host.ask(f"the {question.label}", mode=Answer.MODE_POINT, request_id="pick-7")
    spelled = host.ask(f"Point to the {question.label}.")
    assert named.text == spelled.text
    assert (named.request_id, named.mode) == ("pick-7", Answer.MODE_POINT)
    assert named.prompt == f"the {question.label}"
    assert len(named.waypoints) == 1
    assert named.count == -1


def test_things_are_counted_by_name(host, table):
    shot, _ = table
    host.film(shot)
    answer = host.ask("objects", mode=Answer.MODE_COUNT)
    assert answer.count == len(answer.waypoints) > 1
    assert host.call("objects", mode=Answer.MODE_COUNT).count == answer.count


def test_a_description_needs_no_prompt(host, table):
    host.film(table[0])
    answer = host.ask("", mode=Answer.MODE_DESCRIBE)
    assert answer.status in (Answer.OK, Answer.NO_POINT)
    assert answer.text


def test_raw_words_are_all_that_the_model_reads(host, table):
    host.film(table[0])
    prompt = "Point to the objects."
    raw = host.ask(f" User: {prompt} Assistant:", mode=Answer.MODE_RAW)
    assert raw.text == host.ask(prompt).text


def test_a_mode_that_does_not_exist_is_rejected(host):
    assert not host.send("Where?", mode=17).accepted
    assert "mode is 17" in host.call("Where?", mode=17).message


def test_the_standing_question_is_answered_again_and_again(host, table):
    host.film(table[0])
    heard = host.listen(Answer, "molmo/answer")
    assert host.set_parameter("rate_hz", 20.0)
    stand(host, "Point to the objects.")
    host.until(lambda: len(heard) >= 3, "three answers")
    assert {answer.prompt for answer in heard} == {"Point to the objects."}
    assert len({answer.header.stamp.nanosec for answer in heard}) > 1
    stand(host, "Describe the table.")
    host.until(lambda: heard[-1].prompt == "Describe the table.", "an answer to the new one")
    stand(host, "")
    host.until(lambda: host.get_parameter("prompt") == "", "the end of the standing question")
    asked = host.ask("Where are the objects?")
    host.until(lambda: heard[-1].prompt == asked.prompt, "the answer that was asked for")


def test_the_standing_question_keeps_to_its_rate(host, table):
    host.film(table[0])
    heard: list[float] = []
    host.listen(Answer, "molmo/answer", lambda _: heard.append(time.monotonic()))
    assert host.set_parameter("rate_hz", 4.0)
    stand(host, "Point to the objects.")
    host.until(lambda: len(heard) >= 4, "four answers")
    stand(host, "")
    assert (heard[-1] - heard[0]) / (len(heard) - 1) > 0.2  # a quarter, less one late start


def test_the_standing_question_gives_way(guest):
    guest.film(bare_table())
    stand(guest, "Go on.")
    heard = guest.listen(Answer, "molmo/answer")
    goal = guest.send("And?")
    guest.until(lambda: goal.feedback, "words of the question")
    stand(guest, "")
    goal.cancel()
    assert goal.answer().status == Answer.CANCELED
    guest.until(lambda: heard, "the question's answer")
    assert [answer.prompt for answer in heard] == ["And?"]


def stand(robot: Robot, prompt: str) -> None:
    """Sets the standing question as anybody can: with a string."""
    publisher = robot.node.create_publisher(String, "molmo/prompt", 1)
    robot.until(publisher.get_subscription_count, "the node to listen to its prompt")
    publisher.publish(String(data=prompt))
    robot.until(lambda: robot.get_parameter("prompt") == prompt, "the prompt to arrive")
    robot.node.destroy_publisher(publisher)


def test_the_action_can_be_given_another_name(robot, logs):
    parameters = {"bundle": BUNDLE, "action_name": "/robot/look"}
    with NodeProcess(logs / "action.log", **parameters):
        names = [f"/robot/look/_action/{part}" for part in ("feedback", "status")]
        robot.until(
            lambda: all(robot.node.count_publishers(name) for name in names),
            "the action under its new name",
        )
