"""Where questions are taken: lets each wait for its turn, and returns its answer.

Between those who ask (goals, calls, the standing question) and the worker that answers. Knows no
topics and no message types.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import TimeoutError as NotYet
from dataclasses import replace
from threading import Event

from molmo_engine.predictor import Predictor
from molmo_ros import asking
from molmo_ros.asking import Progress, Question, Reply
from molmo_ros.ending import Ended, Ending
from molmo_ros.eyes import Eyes
from molmo_ros.parameters import Parameters
from molmo_ros.placing import Transforms
from molmo_ros.worker import InFlight, Job, Worker

GLANCE_S = 0.01  # between two looks whether a question that waits was cancelled or is late


class Desk:
    """Takes questions while it is open; any number of threads may ask."""

    def __init__(
        self,
        worker: Worker,
        settings: Callable[[], Parameters],
        eyes: Callable[[str], Eyes],
        transforms: Transforms | None = None,
    ) -> None:
        """settings: the parameters as they are now; eyes: of a camera, by its name."""
        self._worker = worker
        self._settings = settings
        self._eyes = eyes
        self._transforms = transforms
        self._in_flight = InFlight()
        self._closing = Event()
        self._predictor: Predictor | None = None

    def open(self, predictor: Predictor) -> None:
        """Questions are answered by this one from now on."""
        self._predictor = predictor
        self._closing.clear()

    def close(self) -> None:
        """Takes no more; ends the running question between two tokens, and waits for that."""
        self._closing.set()
        self._in_flight.wait()

    def ask(
        self, question: Question, on_progress: Progress, *, is_standing: bool = False
    ) -> Reply:
        """Answers a question; blocks until it is answered, refused, stopped or late.

        is_standing: gives way to every question that is not
        """
        settings = self._settings()
        bounded = replace(
            question,
            timeout_s=question.timeout_s or settings.default_timeout_s,
            is_cancelled=lambda: self._closing.is_set() or question.is_cancelled(),
        )
        job = Job(
            lambda: self._answer(bounded, settings, on_progress),
            lane=question.camera,
            on_stop=bounded.replaced.set,
            is_minor=is_standing,
        )
        with self._in_flight:
            if not self._worker.submit(job, settings.queue_policy, settings.queue_size):
                return asking.ended(bounded, Ending.BUSY, _busy(settings))
            return self._wait(job, bounded)

    def _answer(self, question: Question, settings: Parameters, on_progress: Progress) -> Reply:
        """Runs in the worker."""
        assert self._predictor is not None, "a question was taken while the desk was closed"
        eyes = self._eyes(question.camera)
        return asking.answer(
            question, self._predictor, eyes, settings, on_progress, self._transforms
        )

    def _wait(self, job: Job, question: Question) -> Reply:
        """The reply of a job; a question that need not wait any more leaves the line."""
        while True:
            try:
                reply = job.result.result(GLANCE_S)
            except NotYet:
                if (ended := _reason_to_leave(question)) and self._worker.withdraw(job):
                    return asking.ended(question, ended.ending, str(ended))
            else:
                assert isinstance(reply, Reply), reply
                return reply


def _reason_to_leave(question: Question) -> Ended | None:
    try:
        question.check()
    except Ended as ended:
        return ended
    return None


def _busy(settings: Parameters) -> str:
    if settings.queue_policy == "reject":
        return (
            "another question is being answered: ask again when it is done, or let questions "
            "wait (queue_policy: queue)"
        )
    return f"{settings.queue_size} questions wait already (queue_size): ask again later"
