"""The node and its cameras, each a process of its own: several, compressed, mute, unstamped."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import BUNDLE
from robot import NodeProcess, Robot, bare_table

from molmo_ros.msg import Answer, Waypoint

PATIENT = {"frame_wait_s": 10.0, "max_frame_age_s": 60.0}  # single shots instead of a film


@pytest.fixture
def wrist(ros):
    robot = Robot(camera="wrist")
    yield robot
    robot.close()


@pytest.fixture
def head(ros):
    robot = Robot(camera="arm/head")
    yield robot
    robot.close()


def test_each_of_two_cameras_is_asked_by_its_name(wrist, head, logs, scene):
    shot, prompt, _ = scene
    parameters = {"bundle": BUNDLE, "autostart": True, "cameras": "[wrist, arm/head]", **PATIENT}
    with NodeProcess(logs / "cameras.log", **parameters) as process:
        for robot in (wrist, head):
            robot.wait_until_active()
        seen = {"wrist": wrist.see(bare_table()), "arm/head": head.see(shot)}
        for asked, camera in (("arm/head", "arm/head"), ("wrist", "wrist"), ("", "wrist")):
            answer = wrist.send(prompt, camera=asked).answer()
            assert (answer.camera, answer.header) == (camera, seen[camera])
            if camera == "arm/head":  # there is something to point to
                assert [waypoint.camera for waypoint in answer.waypoints] == [camera]
        assert not wrist.send(prompt, camera="tail").accepted
        assert "no camera 'tail': there are wrist, arm/head" in process.log


def test_compressed_depth_gives_waypoints(robot, logs, scene):
    shot, prompt, _ = scene
    parameters = {"bundle": BUNDLE, "autostart": True, "depth_transport": "compressedDepth"}
    with NodeProcess(logs / "compressed_depth.log", **parameters, **PATIENT):
        robot.wait_until_active()
        robot.see(shot, as_png=True)
        (waypoint,) = robot.ask(prompt).waypoints
    assert waypoint.status == Waypoint.OK
    window = shot.depth_m[round(waypoint.v) - 3 :, round(waypoint.u) - 3 :][:7, :7]
    depth_m = waypoint.pose.pose.position.z
    assert window.min() - 0.002 < depth_m < window.max() + 0.002  # it goes in millimetres


def test_a_publisher_that_cannot_be_heard_is_named(robot, logs):
    parameters = {"bundle": BUNDLE, "autostart": True, "image_qos": "default"}
    with NodeProcess(logs / "mute.log", **parameters) as process:
        said = (
            f"not heard on /image: /{robot.node.get_name()} publishes best effort, but "
            "image_qos asks for reliable: set image_qos to sensor_data"
        )
        robot.until(lambda: said in process.log, "a line in the log")
        robot.until(lambda: robot.state() == "active", "the node to be active")
        answer = robot.ask("Where?")
        assert answer.status == Answer.NO_FRAME
        assert said in answer.message


def test_overrides_of_the_quality_of_service_hold(robot, logs):
    override = "qos_overrides./image.subscription.reliability:=reliable"
    parameters = {"bundle": BUNDLE, "autostart": True}
    with NodeProcess(logs / "override.log", "-p", override, **parameters) as process:
        robot.until(lambda: "but image_qos asks for reliable" in process.log, "a line in the log")


def test_an_override_that_makes_no_sense_is_named_and_the_node_lives_on(robot, logs):
    override = "qos_overrides./depth.subscription.reliability:=superb"
    with NodeProcess(logs / "superb.log", "-p", override, bundle=BUNDLE) as process:
        assert robot.transition("configure")
        assert not robot.transition("activate")
        assert robot.state() == "inactive"
        assert "cannot activate: Unexpected QoS override" in process.log
        assert process.stop() == 0, process.log


def test_images_without_a_stamp_are_refused_until_any_age_will_do(robot, logs, scene):
    shot, prompt, _ = scene
    parameters = {"bundle": BUNDLE, "autostart": True, "slop_s": 1.0}
    with NodeProcess(logs / "unstamped.log", **parameters) as process:
        robot.wait_until_active()
        robot.film(shot, stamped=False)
        robot.until(lambda: "the images on /image carry no stamp" in process.log, "a warning")
        answer = robot.ask(prompt)
        assert answer.status == Answer.STALE_FRAME
        assert "the images carry no stamp" in answer.message
        assert robot.set_parameter("max_frame_age_s", 0.0)
        answer = robot.ask(prompt)
        assert answer.status == Answer.OK
        assert np.isnan(answer.frame_age_s)
        assert [waypoint.status for waypoint in answer.waypoints] == [Waypoint.OK]
