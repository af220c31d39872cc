"""Measures the stages of an answer, without the time that its reader takes between events."""

from __future__ import annotations

import time


class Clock:
    """A stopwatch of stages, in milliseconds; runs from the start."""

    def __init__(self) -> None:
        self.found_ms: dict[str, float] = {}
        self._begin = self._last = self._stopped = time.perf_counter()

    def stop(self) -> None:
        """What happens from now on belongs to no stage."""
        self._stopped = time.perf_counter()

    def go(self) -> None:
        """Ends what `stop` began."""
        away = time.perf_counter() - self._stopped
        self._begin += away
        self._last += away

    def end(self, stage: str) -> None:
        """The stage that began when the last one ended is over."""
        now = time.perf_counter()
        self.found_ms[stage] = (now - self._last) * 1e3
        self._last = now

    def first(self, event: str) -> None:
        """Something happened; only its first time counts, from the very beginning."""
        self.found_ms.setdefault(event, self.passed_ms())

    def passed_ms(self) -> float:
        """Since the beginning, pauses left out."""
        return (time.perf_counter() - self._begin) * 1e3
