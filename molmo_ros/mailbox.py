"""Holds the newest messages of one camera until somebody asks for a frame.

Callbacks put, the worker takes; nothing is decoded or copied here. Knows nothing of ROS but
that a stamp is a number of nanoseconds.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

from molmo_ros.frames import Frame

KEPT = 4  # messages per stream: depth may trail its image by a few frames


class Mailbox:
    """Newest images, depth images and intrinsics; safe to use from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.clear()

    def clear(self) -> None:
        """Forgets everything, so that nothing seen before a pause is answered about."""
        with self._changed:
            self._images: deque[tuple[int, Any]] = deque(maxlen=KEPT)
            self._depths: deque[tuple[int, Any]] = deque(maxlen=KEPT)
            self._camera_info: Any | None = None

    def put_image(self, stamp_ns: int, image: Any) -> None:
        with self._changed:
            self._images.append((stamp_ns, image))
            self._changed.notify_all()

    def put_depth(self, stamp_ns: int, depth: Any) -> None:
        with self._changed:
            self._depths.append((stamp_ns, depth))
            self._changed.notify_all()

    def put_camera_info(self, camera_info: Any) -> None:
        with self._changed:
            self._camera_info = camera_info
            self._changed.notify_all()

    def wait(self, timeout_s: float) -> None:
        """Returns when something was put, or after the timeout."""
        with self._changed:
            self._changed.wait(timeout_s)

    def newest(
        self, slop_s: float, *, need_depth: bool = False, need_camera_info: bool = False
    ) -> Frame | None:
        """The newest image that has what is needed; None when there is no such image.

        slop_s: how far the stamps of image and depth may be apart
        """
        with self._changed:
            if need_camera_info and self._camera_info is None:
                return None
            for stamp_ns, image in reversed(self._images):
                depth = self._depth_near(stamp_ns, slop_s)
                if depth is not None or not need_depth:
                    return Frame(image, stamp_ns * 1e-9, depth, self._camera_info)
        return None

    def _depth_near(self, stamp_ns: int, slop_s: float) -> Any | None:
        """The depth image nearest in time, if it is within the slop."""
        if not self._depths:
            return None
        nearest_ns, depth = min(self._depths, key=lambda entry: abs(entry[0] - stamp_ns))
        return depth if abs(nearest_ns - stamp_ns) <= slop_s * 1e9 else None
