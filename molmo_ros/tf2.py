"""The installation's own tf2, where it has one, behind the shape of TransformBuffer.

Nothing is decided here.
"""

from __future__ import annotations

import numpy as np
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.time import Time

from molmo_ros.pose import rotation_matrix
from molmo_ros.tf_buffer import Transform, TransformError


class Tf2Buffer:
    """tf2's buffer and its listener, on a node that somebody else spins."""

    def __init__(self, node: Node, length_s: float) -> None:
        import tf2_ros

        self._unknown = tf2_ros.TransformException
        self._buffer = tf2_ros.Buffer(cache_time=Duration(seconds=length_s))
        self._listener = tf2_ros.TransformListener(self._buffer, node, spin_thread=False)

    def lookup(self, target: str, source: str, stamp_ns: int) -> Transform:
        """The transform from source to target as it was at the stamp; raises TransformError."""
        stamp = Time(nanoseconds=max(stamp_ns, 1))  # to tf2 zero means the newest, whenever it was
        try:
            found = self._buffer.lookup_transform(target, source, stamp).transform
        except self._unknown as error:
            raise TransformError(str(error)) from error
        t, q = found.translation, found.rotation
        return Transform(
            rotation_matrix((q.x, q.y, q.z, q.w)), np.array([t.x, t.y, t.z], np.float64)
        )
