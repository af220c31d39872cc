"""Publishes replies. What costs time (markers, pictures) is made only when somebody listens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from geometry_msgs.msg import PoseArray, PoseStamped
from rclpy.lifecycle import LifecycleNodeMixin
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import String
from visualization_msgs.msg import MarkerArray

from molmo_engine.predictor import Predictor
from molmo_ros import convert, messages
from molmo_ros.asking import Reply
from molmo_ros.ending import Ending
from molmo_ros.geometry import Status
from molmo_ros.markers import LIFETIME_S, markers
from molmo_ros.msg import Answer, ModelInfo
from molmo_ros.views import draw_points

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
DEPTH = 10  # answers are rare and small; reliable, so that none is lost
KINDS = {
    "answer": Answer,
    "text": String,
    "waypoints": PoseArray,
    "waypoint": PoseStamped,
    "tracked": Answer,
    "tracked_poses": PoseArray,
    "markers": MarkerArray,
    "annotated": Image,
}


class Outputs:
    """The node's publishers; silent while the node is not active."""

    def __init__(self, node: LifecycleNodeMixin) -> None:
        self._node = node
        self._publishers = {
            name: node.create_lifecycle_publisher(kind, f"~/{name}", 1 if kind is Image else DEPTH)
            for name, kind in KINDS.items()
        }
        # Kept for late subscribers, and published before the node is active.
        self._model_info = node.create_publisher(ModelInfo, "~/model_info", LATCHED)

    def announce(self, predictor: Predictor, bundle: str, cameras: Sequence[str]) -> None:
        """Tells what answers from now on, also those who ask later."""
        info = ModelInfo(
            stamp=self._node.get_clock().now().to_msg(),
            model=predictor.model_id,
            engine=predictor.engine_id,
            bundle=bundle,
            cameras=cameras,
            max_crops=predictor.config.crops.max_crops,
            capacity=predictor.runtime.capacity,
        )
        self._model_info.publish(info)

    def publish(self, reply: Reply, answer: Answer) -> None:
        """The answer always; poses and pictures only of a complete one."""
        for name, message in told(reply, answer):
            self._publishers[name].publish(message)
        if not is_complete(reply):
            return
        if self._is_heard("markers"):
            lifetime_s = self._node.get_parameter("marker_lifetime_s").value
            self._publishers["markers"].publish(draw_markers([answer], lifetime_s))
        if self._is_heard("annotated"):
            self._publishers["annotated"].publish(draw_picture([reply]))

    def _is_heard(self, name: str) -> bool:
        return self._publishers[name].get_subscription_count() > 0

    def is_tracking_heard(self) -> bool:
        """Whether somebody listens to tracked waypoints."""
        return self._is_heard("tracked") or self._is_heard("tracked_poses")

    def publish_tracked(self, answer: Answer) -> None:
        """The waypoints of an answer in a newer image; an empty array when all are lost."""
        self._publishers["tracked"].publish(answer)
        usable = messages.usable(answer.waypoints)
        self._publishers["tracked_poses"].publish(messages.pose_array(answer.header, usable))


def is_complete(reply: Reply) -> bool:
    """Whether the model came to its end."""
    return reply.ending in (Ending.OK, Ending.NO_POINT)


def told(reply: Reply, answer: Answer) -> Iterator[tuple[str, Any]]:
    """What goes out of a reply, by topic: the answer always, the rest of a complete one.

    An empty pose array says that there is nothing to go to any more.
    """
    yield "answer", answer
    if not is_complete(reply):
        return
    yield "text", String(data=answer.text)
    usable = messages.usable(answer.waypoints)
    yield "waypoints", messages.pose_array(answer.header, usable)
    if usable:
        yield "waypoint", messages.pose_stamped(usable[0])


def draw_markers(answers: Sequence[Answer], lifetime_s: float = LIFETIME_S) -> MarkerArray:
    """The usable waypoints of complete answers about one image, for so long."""
    waypoints = chain.from_iterable(messages.usable(answer.waypoints) for answer in answers)
    return markers(answers[0].header, list(waypoints), lifetime_s)


def draw_picture(replies: Sequence[Reply]) -> Image:
    """The image of complete replies with their points drawn in."""
    image = Image(header=messages.header(replies[0]))
    points = [located for reply in replies for located in reply.points]
    found = [located.found for located in points]
    usable = [located.location.status == Status.OK for located in points]
    convert.fill_image(image, draw_points(replies[0].view.rgb, found, usable))
    return image
