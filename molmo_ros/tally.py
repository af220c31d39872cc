"""Counts how questions ended and how long they took.

Keeps numbers and the last complaint, no questions and no answers. Knows no topics.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from dataclasses import dataclass
from time import monotonic

import numpy as np

from molmo_ros.asking import Reply
from molmo_ros.ending import Ending

RECENT = 100  # answers that percentiles are about
ANSWERED = (Ending.OK, Ending.NO_POINT)


@dataclass(frozen=True, kw_only=True)
class TallyReport:
    """What became of the questions until now. Unknown numbers are NaN.

    ended:          how many questions ended in each way
    total_ms:       median and 95th percentile, from the request to the answer, of the last ones
    first_ms:       the same from the start of inference to the first waypoint
    complaint:      of the last question that failed, with how it ended
    complaint_s:    seconds since then; infinite when there was none
    answered_since: whether a question was answered after it
    """

    ended: dict[Ending, int]
    total_ms: tuple[float, float]
    first_ms: tuple[float, float]
    complaint: str
    complaint_s: float
    answered_since: bool


class Tally:
    """Takes note of every reply; any thread notes, any thread reads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ended: Counter[Ending] = Counter()
        self._total_ms: deque[float] = deque(maxlen=RECENT)
        self._first_ms: deque[float] = deque(maxlen=RECENT)
        self._complaint, self._complained_s, self._answered_since = "", -np.inf, False

    def note(self, reply: Reply) -> None:
        """Counts a reply that has ended."""
        with self._lock:
            self._ended[reply.ending] += 1
            if reply.ending in ANSWERED:
                self._total_ms.append(reply.total_ms)
                self._answered_since = True
                if np.isfinite(reply.first_waypoint_ms):
                    self._first_ms.append(reply.first_waypoint_ms)
            elif reply.ending not in (Ending.CANCELED, Ending.REPLACED):
                self._complaint = f"{reply.ending.name}: {reply.message}"
                self._complained_s, self._answered_since = monotonic(), False

    def report(self) -> TallyReport:
        with self._lock:
            return TallyReport(
                ended=dict(self._ended),
                total_ms=_percentiles(self._total_ms),
                first_ms=_percentiles(self._first_ms),
                complaint=self._complaint,
                complaint_s=monotonic() - self._complained_s,
                answered_since=self._answered_since,
            )


def _percentiles(values: deque[float]) -> tuple[float, float]:
    if not values:
        return np.nan, np.nan
    p50, p95 = np.percentile(values, [50, 95])
    return float(p50), float(p95)
