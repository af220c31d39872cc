"""Subscribes to the camera and drops what comes into the mailbox; nothing is looked at here."""

from __future__ import annotations

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
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
    """The subscriptions of one camera; they exist only while the node is active."""

    def __init__(self, node: Node, mailbox: Mailbox) -> None:
        self._node = node
        self._mailbox = mailbox
        # Exclusive: a reentrant group would let a younger frame overtake an older one.
        self._group = MutuallyExclusiveCallbackGroup()
        self._subscriptions = []
        self._topics = {name: node.resolve_topic_name(name) for name in ("depth", "camera_info")}

    def open(self, image_transport: str) -> None:
        """Starts listening; what was seen before is forgotten."""
        self._mailbox.clear()
        kind, topic = (Image, "image")
        if image_transport == "compressed":
            # Beside the remapped image, where image_transport publishes it.
            kind, topic = CompressedImage, self._node.resolve_topic_name("image") + "/compressed"
        self._subscribe(kind, topic, self._on_image)
        self._subscribe(Image, "depth", self._on_depth)
        self._subscribe(CameraInfo, "camera_info", self._on_camera_info)

    def close(self) -> None:
        """Stops listening."""
        while self._subscriptions:
            self._node.destroy_subscription(self._subscriptions.pop())

    def needs(self) -> Needs:
        """What is worth waiting for: that which somebody publishes."""
        return Needs(
            depth=self._node.count_publishers(self._topics["depth"]) > 0,
            camera_info=self._node.count_publishers(self._topics["camera_info"]) > 0,
        )

    def _subscribe(self, kind, topic, callback) -> None:
        subscription = self._node.create_subscription(
            kind, topic, callback, SENSOR, callback_group=self._group
        )
        self._subscriptions.append(subscription)

    def _on_image(self, message: Image | CompressedImage) -> None:
        self._mailbox.put_image(_stamp_ns(message), message)

    def _on_depth(self, message: Image) -> None:
        self._mailbox.put_depth(_stamp_ns(message), message)

    def _on_camera_info(self, message: CameraInfo) -> None:
        self._mailbox.put_camera_info(message)


def _stamp_ns(message) -> int:
    stamp = message.header.stamp
    return stamp.sec * 1_000_000_000 + stamp.nanosec
