"""Where questions are taken: lets each wait for its turn, and returns its answer.

Between those who ask (goals, calls, the standing question) and the worker that answers. Knows no
topics and no message types.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass, replace
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


@dataclass(frozen=True)
class Turn:
    """A question that was taken, the job of answering it, and who hears the reply at once."""

    question: Question
    job: Job
    on_reply: Progress

    def end(self, ending: Ending, message: str) -> Reply:
        """The reply to a question that is not answered."""
        reply = asking.ended(self.question, ending, message)
        self.on_reply(reply)
        return reply


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

    def begin(
        self,
        question: Question,
        on_progress: Progress = lambda reply: None,
        on_reply: Progress = lambda reply: None,
        *,
        is_standing: bool = False,
    ) -> Turn:
        """Takes a question, or refuses it, without blocking; `wait` must follow.

        on_progress: sees the reply grow, in the worker
        on_reply:    hears the complete reply at once, in any thread
        is_standing: gives way to every question that is not
        """
        settings = self._settings()
        bounded = replace(
            question,
            timeout_s=question.timeout_s or settings.default_timeout_s,
            is_cancelled=lambda: self._closing.is_set() or question.is_cancelled(),
        )

        def answer() -> Reply:
            reply = self._answer(bounded, settings, on_progress)
            job.is_stopping = True  # who hears the reply may ask again at once
            on_reply(reply)
            return reply

        job = Job(answer, lane=question.camera, on_stop=bounded.replaced.set, is_minor=is_standing)
        turn = Turn(bounded, job, on_reply)
        self._in_flight.begin()
        if not self._worker.submit(job, settings.queue_policy, settings.queue_size):
            job.result.set_result(turn.end(Ending.BUSY, _busy(settings)))
        return turn

    def wait(self, turn: Turn) -> Reply:
        """Blocks until a question is answered, refused, stopped or late."""
        try:
            while True:
                try:
                    reply = turn.job.result.result(GLANCE_S)
                except NotYet:
                    ended = _reason_to_leave(turn.question)
                    if ended and self._worker.withdraw(turn.job):
                        return turn.end(ended.ending, str(ended))
                else:
                    assert isinstance(reply, Reply), reply
                    return reply
        finally:
            self._in_flight.end()

    def _answer(self, question: Question, settings: Parameters, on_progress: Progress) -> Reply:
        """Runs in the worker."""
        assert self._predictor is not None, "a question was taken while the desk was closed"
        eyes = self._eyes(question.camera)
        return asking.answer(
            question, self._predictor, eyes, settings, on_progress, self._transforms
        )


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
