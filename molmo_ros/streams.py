"""What one camera sends: its topics, the mailbox they fill, and how each is doing.

Nothing is looked at here but stamps. Who subscribes, and in which thread, is the Listener's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from molmo_ros import qos
from molmo_ros.eyes import Eyes, Needs
from molmo_ros.mailbox import Mailbox
from molmo_ros.parameters import Parameters
from molmo_ros.statistics import CameraReport, Statistics, StreamReport, offset_ms

Put = Callable[[int, Any], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Stream:
    """A topic that a camera publishes. name: image, depth or camera_info; topic: resolved."""

    name: str
    kind: type
    topic: str
    qos: QoSProfile
    put: Put
    statistics: Statistics = field(default_factory=Statistics)

    @property
    def type(self) -> str:
        """As the graph names it."""
        return f"sensor_msgs/msg/{self.kind.__name__}"

    def on_message(self, message: Any) -> None:
        """Counts a message and hands it on with its stamp."""
        stamp = message.header.stamp
        stamp_ns = stamp.sec * 1_000_000_000 + stamp.nanosec
        self.statistics.note(stamp_ns)
        self.put(stamp_ns, message)

    def complaint(self, node: Node) -> str:
        """Which publishers are not heard, and what to set; empty when all are."""
        found = [
            qos.complaint(publisher, self.type, self.qos, self.name)
            for publisher in node.get_publishers_info_by_topic(self.topic)
        ]
        told = "; ".join(filter(None, found))
        return f"not heard on {self.topic}: {told}" if told else ""

    def report(self, node: Node, now_s: float, dropped: int) -> StreamReport:
        """now_s: by the clock of the stamps."""
        statistics = self.statistics
        stamp_ns = statistics.stamp_ns
        return StreamReport(
            name=self.name,
            topic=self.topic,
            type=self.type,
            publishers=node.count_publishers(self.topic),
            received=statistics.received,
            dropped=dropped,
            rate_hz=statistics.rate_hz(),
            longest_gap_s=statistics.longest_gap_s(),
            silent_s=statistics.silent_s(),
            age_s=now_s - stamp_ns * 1e-9 if stamp_ns else float("nan"),
            stamp_ns=stamp_ns,
            complaint=self.complaint(node),
        )


class CameraStreams:
    """The streams of one camera. They are made anew by open; until then there are none."""

    def __init__(self, node: Node, name: str, clock_s: Callable[[], float], on_image: Put) -> None:
        """node: whose namespace and remappings hold for the topics; name: empty for the only one.

        clock_s: the clock of the stamps; on_image: is told of each image after the mailbox has it
        """
        self._node = node
        self._name = name
        self._clock_s = clock_s
        self._on_image = on_image
        self._mailbox = Mailbox()
        self._streams: dict[str, Stream] = {}
        self.eyes = Eyes(self._mailbox, self._needs, clock_s, self._obstacle)

    def open(self, settings: Parameters) -> list[Stream]:
        """What to subscribe to; what was seen before is forgotten."""
        self._mailbox.clear()
        streams = [
            self._stream("image", settings.image_transport, self._put_image, settings),
            self._stream("depth", settings.depth_transport, self._mailbox.put_depth, settings),
            self._stream("camera_info", "raw", self._mailbox.put_camera_info, settings),
        ]
        self._streams = {stream.name: stream for stream in streams}
        return streams

    def close(self) -> None:
        self._streams = {}

    def report(self) -> CameraReport | None:
        """How all is doing; None while closed."""
        streams, mailbox, now_s = self._streams, self._mailbox, self._clock_s()
        if not streams:
            return None
        piles = {
            "image": mailbox.images,
            "depth": mailbox.depths,
            "camera_info": mailbox.camera_infos,
        }
        return CameraReport(
            camera=self._name,
            offset_ms=offset_ms(*(streams[n].statistics.stamps_ns() for n in ("image", "depth"))),
            **{n: streams[n].report(self._node, now_s, pile.dropped) for n, pile in piles.items()},
        )

    def _stream(self, name: str, transport: str, put: Put, settings: Parameters) -> Stream:
        topic = self._node.resolve_topic_name(f"{self._name}/{name}" if self._name else name)
        kind = CameraInfo if name == "camera_info" else Image
        if transport != "raw":  # beside the remapped topic, where image_transport publishes it
            topic, kind = f"{topic}/{transport}", CompressedImage
        profile = qos.profile(getattr(settings, f"{name}_qos"), settings.qos_depth)
        return Stream(name=name, kind=kind, topic=topic, qos=profile, put=put)

    def _put_image(self, stamp_ns: int, message: Image | CompressedImage) -> None:
        self._mailbox.put_image(stamp_ns, message)
        self._on_image(stamp_ns, message)
        if not stamp_ns and self._streams["image"].statistics.received == 1:
            self._node.get_logger().warning(
                f"the images on {self._streams['image'].topic} carry no stamp: let the camera "
                "driver set header.stamp. With max_frame_age_s: 0.0 they are answered about, "
                "and depth is matched by arrival"
            )

    def _needs(self) -> Needs:
        """What is worth waiting for: that which somebody publishes."""
        return Needs(
            depth=self._is_published("depth"), camera_info=self._is_published("camera_info")
        )

    def _is_published(self, name: str) -> bool:
        stream = self._streams.get(name)
        return stream is not None and self._node.count_publishers(stream.topic) > 0

    def _obstacle(self) -> str:
        image = self._streams.get("image")
        return image.complaint(self._node) if image else ""
