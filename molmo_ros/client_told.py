"""What a caller has been told of an answer that streams. Knows nothing of goals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock

from molmo_ros.msg import Waypoint


class Told:
    """Tells each word and each waypoint once, in order."""

    def __init__(
        self,
        on_text: Callable[[str], None] | None,
        on_waypoint: Callable[[Waypoint], None] | None,
    ) -> None:
        self._on_text = on_text
        self._on_waypoint = on_waypoint
        self._lock = Lock()  # feedback and result come through any thread of an executor
        self._text = ""
        self._waypoints = 0

    def tell(self, text: str, waypoints: Sequence[Waypoint]) -> None:
        """Takes all words and waypoints so far, or fewer when something newer was faster."""
        with self._lock:
            words, new = text[len(self._text) :], waypoints[self._waypoints :]
            self._text += words
            self._waypoints += len(new)
            if words and self._on_text:
                self._on_text(words)
            for waypoint in new if self._on_waypoint else ():
                self._on_waypoint(waypoint)
