"""Reads a recorded camera out of a bag and gives its messages new stamps.

Messages stay serialised: only the stamp at the front of each is rewritten. Knows no ROS nodes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rosbags.highlevel import AnyReader, AnyReaderError

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"


class BagError(ValueError):
    """A bag that no camera can be played from."""


@dataclass(frozen=True)
class Record:
    """One message: its topic and type, when it was recorded, and its CDR bytes."""

    topic: str
    kind: str
    time_ns: int
    cdr: bytes


@dataclass(frozen=True)
class Topics:
    """Where in a bag a camera's streams are. compressed: image is `<image>/compressed`."""

    image: str
    compressed: bool
    depth: str | None
    camera_info: str | None


class Recording:
    """All camera messages of a bag, in the order of their recording; loops need them in memory."""

    def __init__(self, bag: Path) -> None:
        """Reads a bag directory (mcap or sqlite3); raises BagError when there is no image."""
        try:
            with AnyReader([bag]) as reader:
                cameras = [c for c in reader.connections if c.msgtype in _KINDS]
                self.records = [
                    Record(connection.topic, connection.msgtype, time_ns, bytes(cdr))
                    for connection, time_ns, cdr in reader.messages(cameras)
                ]
        except (AnyReaderError, OSError) as error:
            raise BagError(f"{bag}: not a readable ROS 2 bag ({error})") from error
        self.topics = _find_topics(bag, {(r.topic, r.kind) for r in self.records})

    @property
    def period_ns(self) -> int:
        """Of a loop: one step longer than from the first message to the last."""
        times = sorted({record.time_ns for record in self.records})
        step_ns = (times[-1] - times[0]) // max(len(times) - 1, 1)
        return times[-1] - times[0] + (step_ns or 100_000_000)

    def loop(self) -> Iterator[tuple[Record, int]]:
        """All messages again and again, with their times since the beginning, which only grow."""
        start_ns, round_ns = self.records[0].time_ns, 0
        while True:
            for record in self.records:
                yield record, record.time_ns - start_ns + round_ns
            round_ns += self.period_ns


_KINDS = (IMAGE, COMPRESSED, CAMERA_INFO)


def restamp(cdr: bytes, shift_ns: int) -> bytes:
    """A message with a later header stamp; its type's first field must be a std_msgs/Header.

    CDR: four bytes of encapsulation (the second says little or big endian), then the stamp's
    seconds (int32) and nanoseconds (uint32).
    """
    layout = ("<" if cdr[1] & 1 else ">") + "iI"
    seconds, nanoseconds = struct.unpack_from(layout, cdr, 4)
    moved_ns = seconds * 1_000_000_000 + nanoseconds + shift_ns
    return cdr[:4] + struct.pack(layout, *divmod(moved_ns, 1_000_000_000)) + cdr[12:]


def _find_topics(bag: Path, streams: set[tuple[str, str]]) -> Topics:
    """The camera's streams by their types and names; the first one where there are several."""
    raw = sorted(topic for topic, kind in streams if kind == IMAGE)
    packed = sorted(
        topic.removesuffix("/compressed")
        for topic, kind in streams
        if kind == COMPRESSED and topic.endswith("/compressed") and "depth" not in topic
    )
    depth = [topic for topic in raw if "depth" in topic]
    colour = [topic for topic in raw if "depth" not in topic]
    infos = sorted(topic for topic, kind in streams if kind == CAMERA_INFO)
    if not colour and not packed:
        found = ", ".join(sorted(topic for topic, _ in streams)) or "no camera messages"
        raise BagError(f"{bag}: no colour image topic (found: {found})")
    return Topics(
        image=(colour or packed)[0],
        compressed=not colour,
        depth=depth[0] if depth else None,
        camera_info=infos[0] if infos else None,
    )
