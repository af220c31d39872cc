"""The inputs on a node of the test's own: real topics, and the thread that listens to them."""

from __future__ import annotations

import threading
from itertools import count

import pytest
import rclpy
from robot import Robot, bare_table
from sensor_msgs.msg import CameraInfo

from molmo_ros.inputs import Inputs
from molmo_ros.parameters import Parameters

SERIAL = count()


@pytest.fixture
def listening(ros):
    """Makes inputs that listen, in a namespace of their own, and a robot that publishes there."""
    made: list[tuple[Inputs, rclpy.node.Node, Robot]] = []

    def start(camera: str = "", **settings: object) -> tuple[Inputs, Robot]:
        namespace = f"/inputs_{next(SERIAL)}"
        node = rclpy.create_node("listens", namespace=namespace)
        inputs = Inputs(node, (camera,) if camera else (), lambda: now_s(node))
        robot = Robot(namespace, camera)
        made.append((inputs, node, robot))
        inputs.open(Parameters(**settings))
        return inputs, robot

    yield start
    for inputs, node, robot in made:
        inputs.close()
        robot.close()
        node.destroy_node()


def now_s(node) -> float:
    return node.get_clock().now().nanoseconds * 1e-9


def seen_until(robot: Robot, condition, what: str, **how: object):
    """Films until something becomes true."""
    robot.film(bare_table(), **how)
    found = robot.until(condition, what)
    robot.pause()
    return found


def test_a_report_tells_how_each_topic_is_doing(listening):
    inputs, robot = listening("wrist", slop_s=0.01)
    seen_until(robot, lambda: inputs.report("wrist").image.received > 20, "images")
    report = inputs.report("wrist")
    assert (report.camera, report.image.name) == ("wrist", "image")
    assert report.image.topic == f"{robot.node.get_namespace()}/wrist/image"
    assert report.image.type == "sensor_msgs/msg/Image"
    for stream in (report.image, report.depth, report.camera_info):
        assert stream.publishers == 1
        assert 10 < stream.rate_hz < 60  # of 30, on a machine that does other things
        assert 0 <= stream.silent_s <= stream.longest_gap_s
        assert 0 < stream.age_s < 5
        assert not stream.is_unstamped
        assert stream.complaint == ""
    assert report.image.dropped == report.image.received - 4  # nobody asked; four are kept
    assert report.offset_ms == 0.0


def test_the_offset_of_depth_is_measured(listening):
    inputs, robot = listening()
    seen_until(
        robot, lambda: inputs.report().depth.received > 10, "depth images", depth_late_s=0.005
    )
    assert 5.0 <= inputs.report().offset_ms < 10.0  # the test stamps it a little later than that


def test_a_topic_that_nobody_publishes_is_told_from_one_that_is_silent(listening):
    inputs, robot = listening(image_transport="compressed")
    robot.until(lambda: inputs.report().image.publishers == 1, "the publisher")
    report = inputs.report()
    assert (report.image.received, report.image.rate_hz) == (0, 0.0)
    assert report.image.topic.endswith("/image/compressed")
    assert report.image.silent_s > 0
    assert not report.image.is_unstamped


def test_images_without_a_stamp_are_reported(listening):
    inputs, robot = listening()
    seen_until(robot, lambda: inputs.report().image.received > 3, "images", stamped=False)
    report = inputs.report()
    assert report.image.is_unstamped and report.depth.is_unstamped
    assert report.image.age_s != report.image.age_s  # NaN
    assert report.offset_ms != report.offset_ms


def test_a_publisher_of_another_type_is_named(listening):
    inputs, robot = listening()
    context = rclpy.Context()  # one participant takes a topic of one type only
    rclpy.init(context=context)
    topic = inputs.report().image.topic
    other = rclpy.create_node("other", context=context)
    other.create_publisher(CameraInfo, topic, 1)
    wanted = f"not heard on {topic}: /other publishes sensor_msgs/msg/CameraInfo, wanted"
    robot.until(lambda: wanted in inputs.report().image.complaint, "a complaint")
    other.destroy_node()
    rclpy.shutdown(context=context)


def test_while_nothing_listens_there_is_no_report(listening):
    inputs, _ = listening()
    inputs.close()
    assert inputs.report() is None
    inputs.open(Parameters())
    assert inputs.report().image.received == 0


def test_a_hook_sees_the_images_of_its_time_in_the_listening_thread(listening):
    inputs, robot = listening("wrist")
    seen: list[tuple[str, int, int, str]] = []

    def hook(camera, stamp_ns, message):
        seen.append((camera, stamp_ns, message.width, threading.current_thread().name))

    unhook = inputs.on_image(hook)
    seen_until(robot, lambda: len(seen) > 2, "images")
    stamps = [header.stamp.sec * 10**9 + header.stamp.nanosec for header in robot.filmed]
    assert {(camera, width, thread) for camera, _, width, thread in seen} == {
        ("wrist", 320, "listens_inputs")
    }
    assert {stamp_ns for _, stamp_ns, _, _ in seen} <= set(stamps)
    unhook()
    so_far, received = len(seen), inputs.report("wrist").image.received
    seen_until(robot, lambda: inputs.report("wrist").image.received > received + 2, "images")
    assert len(seen) <= so_far + 1  # one may have been under way


def test_hooks_come_and_go_while_images_arrive(listening):
    inputs, robot = listening()
    calls = count()
    stop = threading.Event()

    def come_and_go() -> None:
        while not stop.is_set():
            inputs.on_image(lambda *_: next(calls))()

    threads = [threading.Thread(target=come_and_go) for _ in range(2)]
    for thread in threads:
        thread.start()
    stays = []
    inputs.on_image(lambda *_: stays.append(1))
    seen_until(robot, lambda: len(stays) > 10, "images")
    stop.set()
    for thread in threads:
        thread.join()
    assert inputs.report().image.received >= len(stays) > 10


def test_a_hook_that_fails_keeps_no_image_from_the_others(listening):
    inputs, robot = listening()
    seen = []
    inputs.on_image(lambda *_: 1 / 0)
    inputs.on_image(lambda *_: seen.append(1))
    seen_until(robot, lambda: len(seen) > 3, "images")
