"""Holds the newest messages of one camera until somebody asks for a frame.

Callbacks put, the worker takes; nothing is decoded or copied here. Knows nothing of ROS but
that a stamp is a number of nanoseconds, and 0 means none.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any

from molmo_ros.frames import Frame

KEPT = 4  # messages per stream: depth may trail its image by a few frames


@dataclass(eq=False)
class Letter:
    """A message, its stamp (0: none), when it arrived, and whether a frame has had it."""

    stamp_ns: int
    arrival_s: float
    message: Any
    is_used: bool = False

    def apart_s(self, other: Letter) -> float:
        """Between the stamps; between the arrivals where a stamp is missing."""
        if self.stamp_ns and other.stamp_ns:
            return abs(self.stamp_ns - other.stamp_ns) * 1e-9
        return abs(self.arrival_s - other.arrival_s)


class Pile:
    """The newest messages of one stream. dropped: how many left it unused."""

    def __init__(self) -> None:
        self.letters: deque[Letter] = deque(maxlen=KEPT)
        self.dropped = 0

    def put(self, letter: Letter) -> None:
        if len(self.letters) == KEPT and not self.letters[0].is_used:
            self.dropped += 1
        self.letters.append(letter)

    def nearest(self, letter: Letter, within_s: float) -> Letter | None:
        """The one nearest in time to another stream's; of equals the newer."""
        found = min(reversed(self.letters), key=letter.apart_s, default=None)
        return found if found is not None and letter.apart_s(found) <= within_s else None


class Mailbox:
    """Newest images, depth images and intrinsics; safe to use from any thread."""

    def __init__(self, clock_s: Callable[[], float] = monotonic) -> None:
        """clock_s: tells when something arrives."""
        self._clock_s = clock_s
        self._changed = threading.Condition()
        self.clear()

    def clear(self) -> None:
        """Forgets everything, so that nothing seen before a pause is answered about."""
        with self._changed:
            self.images, self.depths, self.camera_infos = Pile(), Pile(), Pile()

    def put_image(self, stamp_ns: int, image: Any) -> None:
        self._put(self.images, stamp_ns, image)

    def put_depth(self, stamp_ns: int, depth: Any) -> None:
        self._put(self.depths, stamp_ns, depth)

    def put_camera_info(self, stamp_ns: int, camera_info: Any) -> None:
        self._put(self.camera_infos, stamp_ns, camera_info)

    def wait(self, timeout_s: float) -> None:
        """Returns when something was put, or after the timeout."""
        with self._changed:
            self._changed.wait(timeout_s)

    def newest(
        self, slop_s: float, *, need_depth: bool = False, need_camera_info: bool = False
    ) -> Frame | None:
        """The newest image that has what is needed; None when there is no such image.

        Intrinsics may be of any time, as some drivers send them once: the nearest are taken.
        slop_s: how far the stamps of image and depth may be apart; their arrivals without stamps
        """
        with self._changed:
            for image in reversed(self.images.letters):
                depth = self.depths.nearest(image, slop_s)
                camera_info = self.camera_infos.nearest(image, float("inf"))
                if (depth or not need_depth) and (camera_info or not need_camera_info):
                    return _frame(image, depth, camera_info)
        return None

    def _put(self, pile: Pile, stamp_ns: int, message: Any) -> None:
        with self._changed:
            pile.put(Letter(stamp_ns, self._clock_s(), message))
            self._changed.notify_all()


def _frame(image: Letter, depth: Letter | None, camera_info: Letter | None) -> Frame:
    for letter in (image, depth, camera_info):
        if letter is not None:
            letter.is_used = True
    return Frame(
        image.message,
        image.stamp_ns * 1e-9,
        depth.message if depth else None,
        camera_info.message if camera_info else None,
    )
