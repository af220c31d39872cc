"""The standing question: asked again and again about the newest frames, as the rate allows.

Every camera in turn. It gives way to every other question. Has a thread of its own, so that no
callback waits for an answer. Knows no topics: whoever hears the prompt sets it.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic

from molmo_ros.asking import Question, Reply
from molmo_ros.modes import Mode
from molmo_ros.parameters import Parameters

GLANCE_S = 0.2  # parameters change without a word: Humble calls nobody after they are set


@dataclass(frozen=True)
class Standing:
    """What is asked again and again; an empty prompt asks nothing."""

    prompt: str = ""
    mode: Mode = Mode.ANSWER


class StandingQuestion:
    """Asks while it is started and has a prompt."""

    def __init__(
        self,
        ask: Callable[[Question], Reply],
        settings: Callable[[], Parameters],
        cameras: Callable[[], Sequence[str]],
    ) -> None:
        """ask: blocks until the question is answered; cameras: whose turn it is, in turn."""
        self._ask, self._settings, self._cameras = ask, settings, cameras
        self._changed = threading.Condition()
        self._is_running = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begins to ask, if there is something to ask."""
        self._is_running = True
        self._thread = threading.Thread(target=self._go_round, name="molmo_standing")
        self._thread.start()

    def stop(self) -> None:
        """Ends asking; whoever answers must have been told to end the running answer."""
        with self._changed:
            self._is_running = False
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def wake(self) -> None:
        """Looks at the settings at once: there is a new prompt."""
        with self._changed:
            self._changed.notify_all()

    def _go_round(self) -> None:
        for number in itertools.count():
            started_s = monotonic()
            standing = self._standing()
            if standing.prompt.strip():
                cameras = self._cameras()
                self._ask(self._question(standing, cameras[number % len(cameras)], number))
            if not self._pause(started_s, standing):
                return

    def _pause(self, started_s: float, standing: Standing) -> bool:
        """Waits until it is time to ask again, or there is something else to ask; false to end."""
        with self._changed:
            while self._is_running:
                now = self._standing()
                if now != standing and now.prompt.strip():
                    return True
                left_s = started_s + 1 / self._settings().rate_hz - monotonic()
                if left_s <= 0 and now.prompt.strip():
                    return True
                self._changed.wait(min(left_s, GLANCE_S) if left_s > 0 else GLANCE_S)
            return False

    def _question(self, standing: Standing, camera: str, number: int) -> Question:
        return Question(
            request_id=f"standing-{number}",
            prompt=standing.prompt,
            mode=standing.mode,
            camera=camera,
            timeout_s=0.0,
            is_cancelled=lambda: not self._is_running or self._standing() != standing,
        )

    def _standing(self) -> Standing:
        settings = self._settings()
        return Standing(settings.prompt, Mode[settings.mode.upper()])
