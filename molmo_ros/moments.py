"""Puts a recorded camera together again: images, each with the depth and intrinsics of its time.

Messages are decoded only for the images that are wanted. Which depth belongs to an image is
decided where the node decides it, in the mailbox.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from molmo_ros.bags import CAMERA_INFO, COMPRESSED, IMAGE, CameraTopics, Record
from molmo_ros.eyes import Eyes, Needs
from molmo_ros.mailbox import Mailbox

CLASSES = {IMAGE: Image, COMPRESSED: CompressedImage, CAMERA_INFO: CameraInfo}
PATIENCE_NS = 1_000_000_000  # of recording, until an image does without what has not come
DEPTHS = 30  # kept: as many as come within that time
SHORTEST = 12  # bytes of a message with a stamp


@dataclass(frozen=True)
class Moment:
    """An image that is wanted. time_ns: when it was recorded; eyes: see it and nothing else."""

    time_ns: int
    eyes: Eyes


class Moments:
    """Finds the moments of one camera among the messages of a bag.

    topics: of the messages that it needs
    broken: messages that could not be decoded, by topic
    """

    def __init__(self, topics: CameraTopics, every_s: float) -> None:
        """every_s: seconds of recording from one image to the next that is wanted; 0 wants all."""
        self.topics = {topics.image, topics.depth, topics.camera_info} - {None}
        self.broken: Counter[str] = Counter()
        self._topics = topics
        self._every_ns = round(every_s * 1e9)
        self._first_ns: int | None = None
        self._slot = -1
        self._waiting: deque[Record] = deque()
        self._depths: deque[Record] = deque(maxlen=DEPTHS)
        self._info: Record | None = None

    def add(self, record: Record) -> Iterator[Moment]:
        """Takes the next message; yields what is complete with it, or will never be."""
        if record.topic == self._topics.image and self._is_wanted(record.time_ns):
            self._waiting.append(record)
        elif record.topic == self._topics.depth and _stamp_ns(record):
            self._depths.append(record)  # one without a stamp belongs to no image
        elif record.topic == self._topics.camera_info:
            self._info = record
        while self._waiting and self._is_settled(self._waiting[0], record.time_ns):
            yield from self._open(self._waiting.popleft())

    def end(self) -> Iterator[Moment]:
        """What the recording left incomplete."""
        while self._waiting:
            yield from self._open(self._waiting.popleft())

    def _is_wanted(self, time_ns: int) -> bool:
        """Whether an image is the first one of its interval."""
        if not self._every_ns:
            return True
        if self._first_ns is None:
            self._first_ns = time_ns
        slot = (time_ns - self._first_ns) // self._every_ns
        is_new, self._slot = slot != self._slot, slot
        return is_new

    def _is_settled(self, image: Record, now_ns: int) -> bool:
        """Whether nothing better can come for an image, or it waited long enough."""
        if now_ns - image.time_ns > PATIENCE_NS:
            return True
        if self._topics.camera_info and self._info is None:
            return False
        if not self._topics.depth:
            return True
        return bool(self._depths) and self._depths[-1].stamp_ns >= _stamp_ns(image)

    def _open(self, record: Record) -> Iterator[Moment]:
        """Shows an image, with what belongs to it, to eyes of its own."""
        image, stamp_ns = self._decode(record), _stamp_ns(record)
        if image is None:
            return
        mailbox = Mailbox()
        mailbox.put_image(stamp_ns, image)
        if self._depths and stamp_ns:
            nearest = min(self._depths, key=lambda depth: abs(depth.stamp_ns - stamp_ns))
            if (depth := self._decode(nearest)) is not None:
                mailbox.put_depth(nearest.stamp_ns, depth)
        if self._info and (info := self._decode(self._info)) is not None:
            mailbox.put_camera_info(_stamp_ns(self._info), info)
        needs = Needs(depth=self._topics.depth is not None)
        yield Moment(record.time_ns, Eyes(mailbox, lambda: needs, lambda: math.nan))

    def _decode(self, record: Record) -> Any | None:
        """The message, or None when its bytes are not one."""
        try:
            return deserialize_message(record.cdr, CLASSES[record.kind])
        except RuntimeError:  # of rclpy, without further words
            self.broken[record.topic] += 1
            return None


def _stamp_ns(record: Record) -> int:
    """The stamp of a message; 0 where it has none."""
    return record.stamp_ns if len(record.cdr) >= SHORTEST else 0
