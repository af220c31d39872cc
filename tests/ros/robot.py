"""The other side of the node in these tests: a camera, a client, and the node's own process."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from array import array
from pathlib import Path

import numpy as np
import rclpy
from action_msgs.msg import GoalStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.action import ActionClient
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from molmo_ros.action import Ask

PATIENCE_S = 20.0  # for anything that should come at once; only a broken node lets it pass
FRAME_ID = "wrist_optical_frame"
HEIGHT, WIDTH, FOCAL = 240, 320, 260.0
TABLE_M = 0.8

TRANSITIONS = {
    "configure": Transition.TRANSITION_CONFIGURE,
    "activate": Transition.TRANSITION_ACTIVATE,
    "deactivate": Transition.TRANSITION_DEACTIVATE,
    "cleanup": Transition.TRANSITION_CLEANUP,
}


class NodeProcess:
    """The node as a process of its own, started and stopped as a launch file would do it."""

    def __init__(self, log: Path, *arguments: str, **parameters: object) -> None:
        given = itertools.chain.from_iterable(
            ("-p", f"{name}:={_yaml(value)}") for name, value in parameters.items()
        )
        command = [sys.executable, "-m", "molmo_ros.molmo_node", "--ros-args", *given, *arguments]
        self._log = log
        with log.open("w") as sink:
            self.process = subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT)

    @property
    def log(self) -> str:
        return self._log.read_text()

    def stop(self, sent: int = signal.SIGINT) -> int:
        """Ends the process by a signal; its exit status."""
        self.process.send_signal(sent)
        return self.process.wait(PATIENCE_S)

    def __enter__(self) -> NodeProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def _yaml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


class Robot:
    """Publishes camera pictures and asks questions, from the process of the test."""

    def __init__(self) -> None:
        self.node = rclpy.create_node("robot")
        self._image = self.node.create_publisher(Image, "image", qos_profile_sensor_data)
        self._jpeg = self.node.create_publisher(
            CompressedImage, "image/compressed", qos_profile_sensor_data
        )
        self._depth = self.node.create_publisher(Image, "depth", qos_profile_sensor_data)
        self._info = self.node.create_publisher(CameraInfo, "camera_info", qos_profile_sensor_data)
        self._change = self.node.create_client(ChangeState, "molmo/change_state")
        self._state = self.node.create_client(GetState, "molmo/get_state")
        self.client = ActionClient(self.node, Ask, "molmo/ask")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._film = None

    def close(self) -> None:
        self._executor.shutdown()
        self.node.destroy_node()

    def until(self, condition, what: str):
        """Spins until something becomes true and returns it."""
        deadline = time.monotonic() + PATIENCE_S
        while not (result := condition()):
            assert time.monotonic() < deadline, f"waited {PATIENCE_S} s in vain for {what}"
            self._executor.spin_once(0.02)
        return result

    def film(self, **picture: object) -> None:
        """Publishes pictures at 30 Hz from now on, whenever this side spins."""
        self.pause()
        self._film = self.node.create_timer(1 / 30, lambda: self.see(**picture))

    def pause(self) -> None:
        """Ends the film."""
        if self._film is not None:
            self.node.destroy_timer(self._film)
            self._film = None

    def see(self, *, depth_m: float | None = TABLE_M, age_s: float = 0.0, grey: int = 90) -> Image:
        """Publishes one picture of a bare table, with depth and intrinsics, and returns it."""
        image = Image(height=HEIGHT, width=WIDTH, encoding="rgb8", step=3 * WIDTH)
        image.header.frame_id = FRAME_ID
        image.header.stamp = self._stamp(age_s)
        image.data = array("B", np.full((HEIGHT, WIDTH, 3), grey, np.uint8).tobytes())
        if depth_m is not None:
            self._depth.publish(_depth(image, depth_m))
            self._info.publish(_info(image))
        self._image.publish(image)
        return image

    def see_jpeg(self, data: bytes) -> CompressedImage:
        """Publishes bytes that claim to be a JPEG."""
        image = CompressedImage(format="jpeg", data=array("B", data))
        image.header.frame_id = FRAME_ID
        image.header.stamp = self._stamp(0.0)
        self._jpeg.publish(image)
        return image

    def _stamp(self, age_s: float):
        return (self.node.get_clock().now() - rclpy.duration.Duration(seconds=age_s)).to_msg()

    def wait_for_eyes(self, jpeg: bool = False) -> None:
        """Returns when the node listens to the camera."""
        publishers = [self._jpeg if jpeg else self._image, self._depth, self._info]
        self.until(
            lambda: all(publisher.get_subscription_count() for publisher in publishers),
            "the node's subscriptions",
        )

    def listen(self, kind, topic: str) -> list:
        """Everything that the node publishes on a topic from now on."""
        heard: list = []
        self.node.create_subscription(kind, topic, heard.append, 10)
        self.until(lambda: self.node.count_publishers(topic), f"a publisher of {topic}")
        return heard

    def transition(self, name: str) -> bool:
        """Asks the node for a lifecycle transition; whether it succeeded."""
        assert self._change.wait_for_service(PATIENCE_S)
        request = ChangeState.Request()
        request.transition.id = TRANSITIONS[name]
        return self._call(self._change, request).success

    def state(self) -> str:
        assert self._state.wait_for_service(PATIENCE_S)
        return self._call(self._state, GetState.Request()).current_state.label

    def send(self, prompt: str, timeout_s: float = 0.0, camera: str = "") -> Goal:
        assert self.client.wait_for_server(PATIENCE_S)
        return Goal(self, Ask.Goal(prompt=prompt, timeout_s=timeout_s, camera=camera))

    def ask(self, prompt: str, timeout_s: float = 0.0):
        """Asks and waits for the answer."""
        return self.send(prompt, timeout_s).answer()

    def _call(self, client, request):
        future = client.call_async(request)
        return self.until(lambda: future.done() and future.result(), client.srv_name)


class Goal:
    """A question under way."""

    def __init__(self, robot: Robot, goal: Ask.Goal) -> None:
        self.feedback: list[Ask.Feedback] = []
        self._robot = robot
        sent = robot.client.send_goal_async(
            goal, lambda message: self.feedback.append(message.feedback)
        )
        robot.until(sent.done, "a reply to the goal")
        self._handle = sent.result()
        self.accepted = self._handle.accepted
        self.status = GoalStatus.STATUS_UNKNOWN
        if self.accepted:
            self._result = self._handle.get_result_async()

    def cancel(self) -> None:
        self._handle.cancel_goal_async()

    def answer(self):
        """The answer in the result of the goal, whatever its status."""
        self._robot.until(self._result.done, "a result")
        self.status = self._result.result().status
        return self._result.result().result.answer


def _depth(image: Image, depth_m: float) -> Image:
    depth = Image(header=image.header, height=HEIGHT, width=WIDTH, encoding="16UC1")
    depth.step = 2 * WIDTH
    millimetres = np.full((HEIGHT, WIDTH), 1000 * depth_m, np.uint16)
    depth.data = array("B", millimetres.tobytes())
    return depth


def _info(image: Image) -> CameraInfo:
    info = CameraInfo(header=image.header, height=HEIGHT, width=WIDTH)
    info.k = [FOCAL, 0.0, WIDTH / 2, 0.0, FOCAL, HEIGHT / 2, 0.0, 0.0, 1.0]
    return info


def domain() -> str:
    """A ROS domain of this test run's own: other runs on this machine are not heard."""
    return str(1 + os.getpid() % 100)
