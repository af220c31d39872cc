"""When an answer is tracked, and when not; frames come straight from a mailbox."""

from __future__ import annotations

import threading
import time
from array import array

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import Image

from molmo_engine.records import PointFound
from molmo_model.points import Point
from molmo_ros.asking import Located, Question, Reply
from molmo_ros.ending import Ending
from molmo_ros.eyes import Eyes, Needs
from molmo_ros.frames import Frame, open_frame
from molmo_ros.mailbox import Mailbox
from molmo_ros.parameters import Parameters
from molmo_ros.pursuit import Carried, Pursuit

PATIENCE_S = 10.0
STEP_PX = 4


def image(number: int) -> Image:
    """A box that moves to the right, 30 times a second."""
    rgb = np.full((240, 320, 3), 110, np.uint8)
    left = 60 + STEP_PX * number
    cv2.rectangle(rgb, (left, 100), (left + 40, 140), (200, 40, 30), -1)
    cv2.rectangle(rgb, (left + 10, 110), (left + 25, 120), (90, 10, 10), -1)
    message = Image(height=240, width=320, encoding="rgb8", step=960)
    message.data = array("B", rgb.tobytes())
    return message


def reply(number: int, ending: Ending = Ending.OK, points: int = 1) -> Reply:
    """An answer about a picture: the middle of the box, as often as wanted."""
    frame = Frame(image(number), 100 + number / 30)
    view = open_frame(frame)
    pixel = (80.0 + STEP_PX * number, 120.0)
    found = Located(PointFound(Point(0.0, 0.0, "box"), pixel, 0.9), view.locate(pixel))
    question = Question(
        request_id=str(number), prompt="", timeout_s=1.0, is_cancelled=lambda: False
    )
    return Reply(question, ending, frame=frame, view=view, points=[found] * points)


class Desk:
    """A pursuit, a camera to feed it, and what it published."""

    def __init__(self) -> None:
        self.mailbox = Mailbox()
        self.carried: list[Carried] = []
        self.is_heard = True
        self.number = 0
        eyes = Eyes(self.mailbox, Needs, lambda: 0.0)
        self.pursuit = Pursuit(eyes, Parameters, None, lambda: self.is_heard, self.carried.append)

    def film(self, count: int) -> None:
        """Shows the next pictures at 30 Hz."""
        for _ in range(count):
            self.number += 1
            stamp_ns = round((100 + self.number / 30) * 1e9)
            self.mailbox.put_image(stamp_ns, image(self.number))
            time.sleep(1 / 30)

    def answer(self, answer: Reply, during: int = 8) -> None:
        """Lets a question be answered after so many pictures."""
        with self.pursuit.question():
            self.film(during)
            self.pursuit.follow(answer)

    def until(self, condition) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.005)

    def threads(self) -> int:
        return sum(thread.name == "molmo_pursuit" for thread in threading.enumerate())


@pytest.fixture
def desk():
    desk = Desk()
    yield desk
    desk.pursuit.stop()
    assert desk.threads() == 0


def test_an_old_answer_is_carried_through_what_was_seen_since(desk):
    """The box is 160 pixels further by then: without the pictures in between it is not found."""
    desk.answer(reply(0), during=40)
    desk.until(lambda: desk.film(1) or desk.carried)
    last = desk.carried[-1]
    number = round((last.reply.frame.stamp_s - 100) * 30)
    assert number >= 40
    assert last.confidences[0] > 0.3
    assert last.reply.points[0].found.pixel == pytest.approx((80 + STEP_PX * number, 120), abs=2.0)
    assert last.answered.stamp_s == 100


def test_while_nobody_listens_nothing_runs_and_the_answer_is_not_kept(desk):
    desk.is_heard = False
    desk.answer(reply(0))
    assert desk.threads() == 0
    desk.is_heard = True
    with desk.pursuit.question():
        desk.film(5)
        assert desk.threads() == 1
    desk.until(lambda: desk.threads() == 0)
    assert desk.carried == []


def test_a_failed_answer_leaves_the_one_before(desk):
    desk.answer(reply(0))
    desk.answer(reply(8, Ending.TIMEOUT))
    desk.until(lambda: desk.film(1) or len(desk.carried) > 10)
    assert {carried.reply.question.request_id for carried in desk.carried} == {"0"}


def test_an_answer_without_points_ends_tracking(desk):
    desk.answer(reply(0))
    desk.answer(reply(8, Ending.NO_POINT, points=0))
    desk.until(lambda: desk.threads() == 0)
    last = len(desk.carried)
    desk.film(5)
    assert len(desk.carried) == last


def test_a_new_answer_takes_the_place_of_the_one_before(desk):
    desk.answer(reply(0))
    desk.answer(reply(8))
    desk.until(lambda: desk.film(1) or desk.carried[-1].reply.question.request_id == "8")
    desk.film(5)
    assert desk.carried[-1].reply.question.request_id == "8"
