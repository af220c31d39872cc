"""What is heard on /tf and /tf_static, over real DDS."""

from __future__ import annotations

import numpy as np
import pytest
import rclpy
from rclpy.time import Time
from robot import PATIENCE_S

from molmo_ros.ending import Ended, Ending
from molmo_ros.tf_buffer import TransformError
from molmo_ros.transforms import Transforms

S = 1_000_000_000
NO_TURN = (0, 0, 0, 1)
QUARTER = (0, 0, 0.5**0.5, 0.5**0.5)


@pytest.fixture
def transforms(robot):
    node = rclpy.create_node("hearer")
    transforms = Transforms(node)
    transforms.open(10.0)
    robot.wait_until_moves_are_heard()
    yield transforms
    transforms.close()
    node.destroy_node()


def at(seconds):
    return Time(nanoseconds=round(seconds * S)).to_msg()


def pose(transforms, target, source, seconds, timeout_s=PATIENCE_S, check=lambda: None):
    found = transforms.look_up(
        target, source, round(seconds * S), timeout_s=timeout_s, check=check
    )
    return found.rotation, found.translation


def test_a_moving_frame_is_where_it_was_and_not_where_it_is(robot, transforms):
    robot.mount("arm", "eye", (0, 0, 0.1), QUARTER)
    for seconds, x in ((100.0, 0.0), (100.1, 0.1), (100.2, 0.3)):
        robot.move(at(seconds), "floor", "arm", (x, 0, 0), NO_TURN)
    rotation, translation = pose(transforms, "floor", "eye", 100.125)
    np.testing.assert_allclose(translation, [0.15, 0, 0.1], atol=1e-6)  # a quarter of the way
    np.testing.assert_allclose(rotation[:, 0], [0, 1, 0], atol=1e-9)


def test_a_mount_that_was_published_before_is_heard_and_holds_always(robot, ros):
    robot.mount("wall", "poster", (1, 2, 3), NO_TURN)
    node = rclpy.create_node("late_hearer")
    transforms = Transforms(node)
    transforms.open(10.0)
    for seconds in (0.0, 1e9):
        assert pose(transforms, "wall", "poster", seconds)[1].tolist() == [1, 2, 3]
    transforms.close()
    node.destroy_node()


def test_a_transform_that_comes_a_little_later_is_waited_for(robot, transforms):
    robot.move(at(5.0), "dock", "boat", (0, 0, 0), NO_TURN)
    pose(transforms, "dock", "boat", 5.0)
    looks = []

    def check():
        looks.append(1)
        if len(looks) == 3:
            robot.move(at(6.0), "dock", "boat", (1, 0, 0), NO_TURN)

    assert pose(transforms, "dock", "boat", 5.5, check=check)[1][0] == pytest.approx(0.5)
    assert len(looks) > 3


def test_waiting_ends_with_the_question(transforms):
    def check():
        raise Ended(Ending.CANCELED, "cancelled")

    with pytest.raises(Ended):
        pose(transforms, "nowhere", "never", 1.0, check=check)


@pytest.mark.parametrize(
    ("target", "seconds", "says"),
    [
        ("quay", 9.0, "'ship' in 'quay' is known until 2.000 s before the image"),
        ("quay", 5.0, "'ship' in 'quay' is known from 1.000 s after the image on"),
        ("moon", 6.5, "frame 'moon' is not known"),
    ],
)
def test_what_is_missing_is_said_with_what_to_do(robot, transforms, target, seconds, says):
    for stamp in (6.0, 7.0):
        robot.move(at(stamp), "quay", "ship", (0, 0, 0), NO_TURN)
    pose(transforms, "quay", "ship", 6.5)
    with pytest.raises(TransformError, match=f"'{target}' is not known: .*{says}.*tf2_echo"):
        pose(transforms, target, "ship", seconds, timeout_s=0.05)


def test_a_malformed_transform_is_ignored_and_the_good_ones_are_not(robot, transforms):
    for stamp, xyzw in ((1.0, NO_TURN), (2.0, (0, 0, 0, 0)), (3.0, NO_TURN)):
        robot.move(at(stamp), "tree", "leaf", (stamp, 0, 0), xyzw)
    robot.move(at(1.0), "leaf", "leaf", (0, 0, 0), NO_TURN)
    assert pose(transforms, "tree", "leaf", 2.0)[1][0] == pytest.approx(2.0)


def test_after_a_pause_nothing_is_remembered(robot, transforms):
    robot.move(at(1.0), "road", "car", (0, 0, 0), NO_TURN)
    pose(transforms, "road", "car", 1.0)
    transforms.close()
    transforms.open(10.0)
    with pytest.raises(TransformError):
        pose(transforms, "road", "car", 1.0, timeout_s=0.05)
