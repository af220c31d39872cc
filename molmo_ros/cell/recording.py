"""A recorded camera in a loop, and new stamps for its messages.

Messages stay serialised: only the stamp at the front of each is rewritten. Knows no ROS nodes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from molmo_ros.bags import (
    CAMERA_INFO,
    COMPRESSED,
    IMAGE,
    PACKED_DEPTH,
    PACKED_IMAGE,
    Bag,
    Record,
    find_candidates,
    no_image,
    read_stamp_ns,
    stamp_layout,
)


@dataclass(frozen=True)
class Topics:
    """Where in a bag a camera's streams are. compressed: image is `<image>/compressed`."""

    image: str
    compressed: bool
    depth: str | None
    camera_info: str | None


class Recording:
    """All camera messages of a bag, in the order of their recording; loops need them in memory."""

    def __init__(self, path: Path) -> None:
        """Reads a bag (mcap or sqlite3); raises BagError when there is no image."""
        with Bag(path) as bag:
            streams = {topic: kind for topic, kind in bag.streams.items() if kind in _KINDS}
            self.records = list(bag.read(streams))
        self.topics = _find_topics(path, streams)

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
    """A message with a later header stamp; its type's first field must be a std_msgs/Header."""
    stamp = divmod(read_stamp_ns(cdr) + shift_ns, 1_000_000_000)
    return cdr[:4] + struct.pack(stamp_layout(cdr), *stamp) + cdr[12:]


def _find_topics(bag: Path, streams: Mapping[str, str]) -> Topics:
    """The camera's streams by their types and names; the first one where there are several."""
    found = find_candidates(streams)
    if not found.image:
        raise no_image(bag, streams)
    depths = [topic for topic in found.depth if not topic.endswith(PACKED_DEPTH)]
    return Topics(
        image=found.image[0].removesuffix(PACKED_IMAGE),
        compressed=streams[found.image[0]] == COMPRESSED,
        depth=depths[0] if depths else None,
        camera_info=found.camera_info[0] if found.camera_info else None,
    )
