"""Counts what arrives on a stream, and reports what that says about a camera.

Counting happens for every message and is an append; all arithmetic waits until somebody wants a
report. Knows nothing of ROS but that a stamp is a number of nanoseconds, and 0 means none.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from time import monotonic

import numpy as np
import numpy.typing as npt

WINDOW_S = 3.0  # that rates and gaps are about
RECENT = 128  # messages remembered: the window of a camera at 40 Hz
PAIRS = 30  # of image and depth that the offset is the median of


@dataclass(frozen=True, kw_only=True)
class StreamReport:
    """How one topic of a camera is doing. Unknown numbers are NaN.

    publishers:    on the topic, of any type
    received:      messages since listening began
    dropped:       of these, those that newer ones replaced before a question used them
    rate_hz:       over the last seconds
    longest_gap_s: without a message, in the last seconds; the one that lasts counts
    silent_s:      since the newest message, or since listening began when there was none
    age_s:         of the newest message by its stamp
    stamp_ns:      of the newest message; 0 when it carries none
    complaint:     why nothing comes from a publisher, and what to set; empty when all fit
    """

    name: str
    topic: str
    type: str
    publishers: int
    received: int
    dropped: int
    rate_hz: float
    longest_gap_s: float
    silent_s: float
    age_s: float
    stamp_ns: int
    complaint: str

    @property
    def is_unstamped(self) -> bool:
        """Whether messages come without a stamp."""
        return self.received > 0 and self.stamp_ns == 0


@dataclass(frozen=True, kw_only=True)
class CameraReport:
    """How the three topics of a camera are doing.

    offset_ms: how much later depth is stamped than its image, median of the last ones; NaN unknown
    """

    camera: str
    image: StreamReport
    depth: StreamReport
    camera_info: StreamReport
    offset_ms: float


class Statistics:
    """Arrivals and stamps of one stream; one thread notes, any thread reads."""

    def __init__(self) -> None:
        self.received = 0
        self.stamp_ns = 0
        self._since_s = monotonic()
        self._recent: deque[tuple[float, int]] = deque(maxlen=RECENT)

    def note(self, stamp_ns: int) -> None:
        """Counts a message that has just arrived."""
        self.received += 1
        self.stamp_ns = stamp_ns
        self._recent.append((monotonic(), stamp_ns))

    def stamps_ns(self) -> npt.NDArray[np.int64]:
        """Of the last messages, without those that carry none."""
        return np.array([stamp_ns for _, stamp_ns in tuple(self._recent) if stamp_ns], np.int64)

    def silent_s(self) -> float:
        recent = tuple(self._recent)
        return monotonic() - (recent[-1][0] if recent else self._since_s)

    def rate_hz(self) -> float:
        times_s = self._window()
        if len(times_s) < 2:
            return len(times_s) / WINDOW_S
        return (len(times_s) - 1) / (times_s[-1] - times_s[0])

    def longest_gap_s(self) -> float:
        times_s = self._window()
        return float(np.diff(times_s, append=monotonic()).max()) if times_s else self.silent_s()

    def _window(self) -> list[float]:
        start_s = monotonic() - WINDOW_S
        return [time_s for time_s, _ in tuple(self._recent) if time_s >= start_s]


def offset_ms(images_ns: npt.NDArray[np.int64], depths_ns: npt.NDArray[np.int64]) -> float:
    """How much later depth is stamped than the image nearest to it: the median of the last ones.

    Where one of the two comes more often, most of its messages have no partner: the rarer leads.
    """
    if not (images_ns.size and depths_ns.size):
        return math.nan
    start_ns = max(images_ns.min(), depths_ns.min())
    end_ns = min(images_ns.max(), depths_ns.max())
    images, depths = (t[(t >= start_ns) & (t <= end_ns)] for t in (images_ns, depths_ns))
    rarer, other, sign = (
        (images, depths_ns, 1) if len(images) <= len(depths) else (depths, images_ns, -1)
    )
    if not rarer.size:
        return math.nan
    apart_ns = other[None, :] - rarer[-PAIRS:, None]
    nearest_ns = np.take_along_axis(apart_ns, np.abs(apart_ns).argmin(axis=1)[:, None], axis=1)
    return float(sign * np.median(nearest_ns) * 1e-6)
