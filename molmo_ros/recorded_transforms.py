"""The transforms that a recording holds, in the order in which a node would have heard them.

Has the shape of transforms.Transforms, without listening to anything. Knows nothing of cameras.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from rosbags.serde import SerdeError
from rosbags.typesys import Stores, get_typestore

from molmo_ros.bags import Bag, Record
from molmo_ros.tf_buffer import Transform, TransformBuffer, TransformError

MOVING, STATIC = "/tf", "/tf_static"
KIND = "tf2_msgs/msg/TFMessage"  # the same in all versions; not installed everywhere
TYPES = get_typestore(Stores.ROS2_HUMBLE)
AHEAD_NS = 1_000_000_000  # of recording: transforms come later than what they are about
NANO = 1_000_000_000


class RecordedTransforms:
    """Remembers the transforms around the time that the answers have come to.

    broken: damaged messages and transforms, by topic
    """

    def __init__(self, bag: Bag) -> None:
        self.broken: Counter[str] = Counter()
        self._bag = bag
        self._buffer: TransformBuffer | None = None
        self._moving: Iterator[Record] = iter(())
        self._next: Record | None = None
        self._until_ns = 0

    def open(self, length_s: float) -> None:
        """Learns what holds at all times, and begins to remember the last length_s."""
        if self._buffer is not None:
            return
        self._buffer = TransformBuffer(length_s)
        for record in self._read(STATIC):
            self._put(record)
        self._moving = self._read(MOVING)
        self._next = next(self._moving, None)

    def advance(self, time_ns: int) -> None:
        """Lets look_up know what was recorded until a little after a time, which only grows."""
        self._until_ns = time_ns + AHEAD_NS

    def look_up(
        self,
        target: str,
        source: str,
        stamp_ns: int,
        *,
        timeout_s: float,
        check: Callable[[], None],
    ) -> Transform:
        """The transform from source to target as it was at the stamp; raises TransformError."""
        assert self._buffer is not None, "look_up before open"
        while self._next is not None and self._next.time_ns <= self._until_ns:
            self._put(self._next)
            self._next = next(self._moving, None)
        try:
            return self._buffer.lookup(target, source, stamp_ns)
        except TransformError as error:
            raise TransformError(
                f"the pose of '{source}' in '{target}' is not known: {error}. Check that the "
                f"recording holds {MOVING} and {STATIC}, and that their clock is the image's"
            ) from error

    def _read(self, topic: str) -> Iterator[Record]:
        """The messages of a topic in the whole recording, those of other types left out."""
        return (record for record in self._bag.read([topic]) if record.kind == KIND)

    def _put(self, record: Record) -> None:
        """Takes the transforms of a message; what is none is counted."""
        try:
            message: Any = TYPES.deserialize_cdr(record.cdr, KIND)
        except SerdeError:
            self.broken[record.topic] += 1
            return
        for one in message.transforms:
            try:
                self._buffer.put(
                    one.header.frame_id,
                    one.child_frame_id,
                    one.header.stamp.sec * NANO + one.header.stamp.nanosec,
                    _values(one.transform.translation, "xyz"),
                    _values(one.transform.rotation, "xyzw"),
                    is_static=record.topic == STATIC,
                )
            except ValueError:
                self.broken[record.topic] += 1


def _values(vector: Any, names: str) -> list[float]:
    return [getattr(vector, name) for name in names]
