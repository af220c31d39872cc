"""Subscribes to the camera and drops what comes into the mailbox; nothing is looked at here.

The subscriptions have a node, an executor and a thread of their own, for two reasons. Images wake
this small executor only: the node's large one, with all its services, costs three times as much
per message. And rclpy dies when a subscription is destroyed under a spinning executor: here
nothing spins any more by then.
"""

from __future__ import annotations

from threading import Thread
from typing import Any

from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from molmo_ros.eyes import Needs
from molmo_ros.mailbox import Mailbox

# Best effort also hears reliable publishers; depth 1 because only the newest frame counts.
SENSOR = QoSProfile(
    reliability=ReliabilityPolicy.BEST_EFFORT, history=HistoryPolicy.KEEP_LAST, depth=1
)


class Inputs:
    """The subscriptions of one camera; they exist only between open and close."""

    def __init__(self, node: Node, mailbox: Mailbox) -> None:
        """node: whose namespace and remappings hold for the topics."""
        self._node = node
        self._mailbox = mailbox
        self._listener: Listener | None = None

    def open(self, image_transport: str) -> None:
        """Starts listening; what was seen before is forgotten."""
        self._mailbox.clear()
        self._listener = Listener(self._node)
        if image_transport == "compressed":
            # Beside the remapped image, where image_transport publishes it.
            topic = self._node.resolve_topic_name("image") + "/compressed"
            self._listener.subscribe(CompressedImage, topic, self._on_image)
        else:
            self._listener.subscribe(Image, "image", self._on_image)
        self._listener.subscribe(Image, "depth", self._on_depth)
        self._listener.subscribe(CameraInfo, "camera_info", self._mailbox.put_camera_info)
        self._listener.start()

    def close(self) -> None:
        """Stops listening."""
        if self._listener is not None:
            self._listener.stop()
            self._listener = None

    def needs(self) -> Needs:
        """What is worth waiting for: that which somebody publishes."""
        return Needs(
            depth=self._is_published("depth"), camera_info=self._is_published("camera_info")
        )

    def _is_published(self, topic: str) -> bool:
        return self._node.count_publishers(self._node.resolve_topic_name(topic)) > 0

    def _on_image(self, message: Image | CompressedImage) -> None:
        self._mailbox.put_image(_stamp_ns(message), message)

    def _on_depth(self, message: Image) -> None:
        self._mailbox.put_depth(_stamp_ns(message), message)


class Listener:
    """A few subscriptions that are served by a thread of their own, until it is stopped."""

    def __init__(self, node: Node, what: str = "inputs") -> None:
        """what: ends the name of its node, which begins with that of the node it serves."""
        name = f"{node.get_name()}_{what}"
        self.node = Node(
            name,
            namespace=node.get_namespace(),
            cli_args=["--ros-args", "-r", f"__node:={name}"],  # a renamed node renames this one
            start_parameter_services=False,
        )
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._thread = Thread(target=self._executor.spin, name=name)

    def subscribe(self, kind: type, topic: str, callback: Any, qos: QoSProfile = SENSOR) -> None:
        self.node.create_subscription(kind, topic, callback, qos)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._executor.shutdown()
        self._thread.join()
        self.node.destroy_node()


def _stamp_ns(message: Image | CompressedImage) -> int:
    stamp = message.header.stamp
    return stamp.sec * 1_000_000_000 + stamp.nanosec
