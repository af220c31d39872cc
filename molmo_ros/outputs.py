"""Publishes replies. What costs time (markers, pictures) is made only when somebody listens."""

from __future__ import annotations

from geometry_msgs.msg import PoseArray, PoseStamped
from rclpy.lifecycle import LifecycleNodeMixin
from sensor_msgs.msg import Image
from std_msgs.msg import String
from visualization_msgs.msg import MarkerArray

from molmo_ros import convert, messages
from molmo_ros.asking import Reply
from molmo_ros.ending import Ending
from molmo_ros.markers import markers
from molmo_ros.msg import Answer
from molmo_ros.views import draw_points

DEPTH = 10  # answers are rare and small; reliable, so that none is lost


class Outputs:
    """The node's publishers; silent while the node is not active."""

    def __init__(self, node: LifecycleNodeMixin) -> None:
        create = node.create_lifecycle_publisher
        self._answer = create(Answer, "~/answer", DEPTH)
        self._text = create(String, "~/text", DEPTH)
        self._waypoints = create(PoseArray, "~/waypoints", DEPTH)
        self._waypoint = create(PoseStamped, "~/waypoint", DEPTH)
        self._tracked = create(Answer, "~/tracked", DEPTH)
        self._tracked_poses = create(PoseArray, "~/tracked_poses", DEPTH)
        self._markers = create(MarkerArray, "~/markers", DEPTH)
        self._annotated = create(Image, "~/annotated", 1)

    def publish(self, reply: Reply, answer: Answer) -> None:
        """The answer always; poses and pictures only of a complete one.

        An empty pose array says that there is nothing to go to any more.
        """
        self._answer.publish(answer)
        if reply.ending not in (Ending.OK, Ending.NO_POINT):
            return
        self._text.publish(String(data=answer.text))
        usable = messages.usable(answer.waypoints)
        self._waypoints.publish(messages.pose_array(answer.header, usable))
        if usable:
            self._waypoint.publish(messages.pose_stamped(usable[0]))
        if self._markers.get_subscription_count():
            self._markers.publish(markers(answer.header, usable))
        if self._annotated.get_subscription_count():
            self._annotated.publish(_annotated(reply))

    def is_tracking_heard(self) -> bool:
        """Whether somebody listens to tracked waypoints."""
        tracked = (self._tracked, self._tracked_poses)
        return any(publisher.get_subscription_count() for publisher in tracked)

    def publish_tracked(self, answer: Answer) -> None:
        """The waypoints of an answer in a newer image; an empty array when all are lost."""
        self._tracked.publish(answer)
        usable = messages.usable(answer.waypoints)
        self._tracked_poses.publish(messages.pose_array(answer.header, usable))


def _annotated(reply: Reply) -> Image:
    """The image of a reply with its points drawn in."""
    image = Image(header=messages.header(reply))
    found = [located.found for located in reply.points]
    convert.fill_image(image, draw_points(reply.view.rgb, found))
    return image
