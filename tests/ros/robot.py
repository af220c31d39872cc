"""The other side of the node in these tests: a camera, a client, and the node's own process."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from array import array
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import rclpy
from action_msgs.msg import GoalStatus
from geometry_msgs.msg import Quaternion, Transform, TransformStamped, Vector3
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.action import ActionClient
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter, parameter_value_to_python
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from rclpy.task import Future
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from molmo_ros.action import Ask
from molmo_ros.srv import Ask as AskSync

PATIENCE_S = 20.0  # for anything that should come at once; only a broken node lets it pass
FRAME_ID = "wrist_optical_frame"
LATCHED = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
SERIAL = itertools.count()  # two nodes of one name would share a logger

TRANSITIONS = {
    "configure": Transition.TRANSITION_CONFIGURE,
    "activate": Transition.TRANSITION_ACTIVATE,
    "deactivate": Transition.TRANSITION_DEACTIVATE,
    "cleanup": Transition.TRANSITION_CLEANUP,
    "shutdown": Transition.TRANSITION_UNCONFIGURED_SHUTDOWN,
}


@dataclass(frozen=True)
class Shot:
    """What the camera sees: rgb (H, W, 3) uint8, depth_m (H, W) along z, k (3, 3)."""

    rgb: np.ndarray
    depth_m: np.ndarray
    k: np.ndarray


def bare_table() -> Shot:
    """Grey everywhere, 0.8 m away. Small: larger raw images need larger DDS segments."""
    k = np.array([[260.0, 0, 159.5], [0, 260.0, 119.5], [0, 0, 1]])
    return Shot(np.full((240, 320, 3), 90, np.uint8), np.full((240, 320), 0.8), k)


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
        if self.process.poll() is not None:
            return
        try:  # a killed process stays in DDS discovery for a while, and in the next test's way
            self.stop()
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _yaml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


class Robot:
    """Publishes camera pictures and asks questions, from the process of the test."""

    def __init__(self, namespace: str = "", camera: str = "") -> None:
        self.node = rclpy.create_node(f"robot_{next(SERIAL)}", namespace=namespace)
        self._camera = camera and f"{camera}/"
        self._image = self._publisher(Image, "image")
        self._jpeg = self._publisher(CompressedImage, "image/compressed")
        self._depth = self._publisher(Image, "depth")
        self._png = self._publisher(CompressedImage, "depth/compressedDepth")
        self._info = self._publisher(CameraInfo, "camera_info")
        self._change = self.node.create_client(ChangeState, "molmo/change_state")
        self._state = self.node.create_client(GetState, "molmo/get_state")
        self._ask_sync = self.node.create_client(AskSync, "molmo/ask_sync")
        self.client = ActionClient(self.node, Ask, "molmo/ask")
        self._parameters = self.node.create_client(SetParameters, "molmo/set_parameters")
        self._values = self.node.create_client(GetParameters, "molmo/get_parameters")
        self._moving = self.node.create_publisher(TFMessage, "/tf", 100)
        self._static = self.node.create_publisher(TFMessage, "/tf_static", LATCHED)
        self.filmed: list[Header] = []
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

    def film(self, shot: Shot, **how: object) -> None:
        """Publishes a shot at 30 Hz from now on, whenever this side spins."""
        self.pause()
        self._film = self.node.create_timer(
            1 / 30, lambda: self.filmed.append(self.see(shot, **how))
        )

    def pause(self) -> None:
        """Ends the film."""
        if self._film is not None:
            self.node.destroy_timer(self._film)
            self._film = None

    def see(
        self,
        shot: Shot,
        *,
        jpeg: bytes = b"",
        with_depth: bool = True,
        as_png: bool = False,
        age_s: float = 0.0,
        depth_late_s: float = 0.0,
        stamped: bool = True,
    ) -> Header:
        """Publishes a shot once, or these bytes in place of its raw image; returns the header.

        as_png: depth goes out as compressedDepth; depth_late_s: its stamp is later by that
        """
        header = self._header(age_s) if stamped else Header(frame_id=FRAME_ID)
        height, width = shot.rgb.shape[:2]
        size = {"header": header, "height": height, "width": width}
        if with_depth:
            millimetres = np.nan_to_num(1000 * shot.depth_m).astype(np.uint16)
            late = self._header(age_s - depth_late_s) if depth_late_s else header
            if as_png:
                data = array("B", bytes(12) + cv2.imencode(".png", millimetres)[1].tobytes())
                form = "16UC1; compressedDepth png"
                self._png.publish(CompressedImage(header=late, format=form, data=data))
            else:
                how = {"encoding": "16UC1", "step": 2 * width, "data": _bytes(millimetres)}
                self._depth.publish(Image(**{**size, "header": late}, **how))
        self._info.publish(CameraInfo(**size, k=shot.k.ravel().astype(float)))
        if jpeg:
            data = array("B", jpeg)
            self._jpeg.publish(CompressedImage(header=header, format="jpeg", data=data))
        else:
            data = _bytes(shot.rgb)
            self._image.publish(Image(**size, encoding="rgb8", step=3 * width, data=data))
        return header

    def mount(self, parent: str, child: str, position, xyzw) -> None:
        """Publishes a transform that holds at all times."""
        self._static.publish(TFMessage(transforms=[transform(parent, child, position, xyzw)]))

    def move(self, stamp, parent: str, child: str, position, xyzw) -> None:
        """Publishes where a frame is at an instant."""
        moved = transform(parent, child, position, xyzw)
        moved.header.stamp = stamp
        self._moving.publish(TFMessage(transforms=[moved]))

    def wait_until_moves_are_heard(self) -> None:
        """Returns when somebody listens to /tf: what is published before is lost."""
        self.until(self._moving.get_subscription_count, "a subscriber of /tf")

    def _header(self, age_s: float) -> Header:
        stamp = self.node.get_clock().now() - Duration(seconds=age_s)
        return Header(frame_id=FRAME_ID, stamp=stamp.to_msg())

    def wait_until_active(self) -> None:
        """Returns when the node takes goals and listens to all that the camera publishes."""
        self.until(lambda: self.state() == "active", "the node to be active")
        streams = (self._image, self._jpeg), (self._depth, self._png), (self._info,)
        self.until(
            lambda: all(any(one.get_subscription_count() for one in many) for many in streams),
            "the node's subscriptions",
        )

    def listen(self, kind, topic: str, on_message=None) -> list:
        """Everything that the node publishes on a topic from now on."""
        heard: list = []
        self.node.create_subscription(kind, topic, on_message or heard.append, 10)
        name = self.node.resolve_topic_name(topic)
        self.until(lambda: self.node.count_publishers(name), f"a publisher of {name}")
        return heard

    def transition(self, name: str) -> bool:
        """Asks the node for a lifecycle transition; whether it succeeded."""
        asked = self.start_transition(name)
        return self.until(lambda: asked.done() and asked.result(), name).success

    def start_transition(self, name: str) -> Future:
        """Asks for a transition and does not wait for its end."""
        assert self._change.wait_for_service(PATIENCE_S)
        request = ChangeState.Request()
        request.transition.id = TRANSITIONS[name]
        return self._change.call_async(request)

    def state(self) -> str:
        assert self._state.wait_for_service(PATIENCE_S)
        return self._call(self._state, GetState.Request()).current_state.label

    def set_parameter(self, name: str, value: object) -> bool:
        """Sets a parameter of the node; whether it was taken."""
        assert self._parameters.wait_for_service(PATIENCE_S)
        change = Parameter(name, value=value).to_parameter_msg()
        request = SetParameters.Request(parameters=[change])
        return self._call(self._parameters, request).results[0].successful

    def get_parameter(self, name: str) -> object:
        """The value of a parameter of the node."""
        assert self._values.wait_for_service(PATIENCE_S)
        (value,) = self._call(self._values, GetParameters.Request(names=[name])).values
        return parameter_value_to_python(value)

    def send(self, prompt: str, timeout_s: float = 0.0, **fields: object) -> Goal:
        assert self.client.wait_for_server(PATIENCE_S)
        return Goal(self, Ask.Goal(prompt=prompt, timeout_s=timeout_s, **fields))

    def ask(self, prompt: str, timeout_s: float = 0.0, **fields: object):
        """Asks and waits for the answer."""
        return self.send(prompt, timeout_s, **fields).answer()

    def call(self, prompt: str, **fields: object):
        """Asks through the service."""
        assert self._ask_sync.wait_for_service(PATIENCE_S)
        return self._call(self._ask_sync, AskSync.Request(prompt=prompt, **fields)).answer

    def _publisher(self, kind, topic: str):
        return self.node.create_publisher(kind, self._camera + topic, qos_profile_sensor_data)

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

    def is_over(self) -> bool:
        return self._result.done()

    def answer(self):
        """The answer in the result of the goal, whatever its status."""
        self._robot.until(self._result.done, "a result")
        self.status = self._result.result().status
        return self._result.result().result.answer


def transform(parent: str, child: str, position, xyzw) -> TransformStamped:
    """A transform without a stamp."""
    message = TransformStamped(header=Header(frame_id=parent), child_frame_id=child)
    x, y, z = map(float, position)
    message.transform = Transform(
        translation=Vector3(x=x, y=y, z=z),
        rotation=Quaternion(**dict(zip("xyzw", map(float, xyzw), strict=True))),
    )
    return message


def _bytes(values: np.ndarray) -> array:
    return array("B", values.tobytes())


def domain() -> str:
    """A ROS domain of this test run's own: other runs on this machine are not heard."""
    return str(1 + os.getpid() % 100)
