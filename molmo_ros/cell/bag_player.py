"""Plays a recorded camera in a loop, at its own pace, as if it were seen now.

Every message keeps its bytes but for the stamp, which moves by the same amount for all streams:
what belonged together still does, and no frame is stale.
"""

from __future__ import annotations

import sys
from pathlib import Path

import rclpy
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from molmo_ros.bags import CAMERA_INFO, COMPRESSED, IMAGE, BagError
from molmo_ros.cell.recording import Recording, restamp
from molmo_ros.serving import serve

TYPES = {IMAGE: Image, COMPRESSED: CompressedImage, CAMERA_INFO: CameraInfo}
QUEUE = 4


class BagPlayer(Node):
    """Publishes the streams of a bag under their recorded names, below the node's namespace."""

    def __init__(self) -> None:
        super().__init__("bag_player")
        bag = self.declare_parameter("bag", "").value
        recording = Recording(Path(bag))
        self._publishers = {
            topic: self.create_publisher(TYPES[kind], topic.lstrip("/"), QUEUE)
            for topic, kind in {(r.topic, r.kind) for r in recording.records}
        }
        self._messages = recording.loop()
        self._next = next(self._messages)
        self._started_ns = self._now_ns()
        self.create_timer(0.005, self._publish_due)
        self.get_logger().info(f"{bag}: playing {', '.join(self._publishers)}")

    def _publish_due(self) -> None:
        """Publishes everything whose time has come."""
        while self._next[1] <= self._now_ns() - self._started_ns:
            record, since_start_ns = self._next
            later_ns = self._started_ns + since_start_ns - record.time_ns
            self._publishers[record.topic].publish(restamp(record.cdr, later_ns))
            self._next = next(self._messages)

    def _now_ns(self) -> int:
        return self.get_clock().now().nanoseconds


def main(args: list[str] | None = None) -> int:
    """Runs the player until SIGINT or SIGTERM; 1 when the bag cannot be played."""
    try:
        serve(BagPlayer, args)
    except BagError as error:
        rclpy.logging.get_logger("bag_player").fatal(f"cannot play: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
