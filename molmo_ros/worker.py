"""One thread that owns the engine and does one thing at a time, and the line in front of it.

Loading, answering and freeing all happen in this thread, because device contexts belong to the
thread that made them. Jobs of different lanes take turns, so that a camera that is asked about
all the time does not starve another. Knows nothing of ROS and nothing of questions.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")

POLICIES = ("reject", "replace", "queue")  # what happens to a job that finds another one


class InFlight:
    """Counts what is going on, so that somebody can wait for its end."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count = 0

    def begin(self) -> None:
        with self._changed:
            self._count += 1

    def end(self) -> None:
        with self._changed:
            self._count -= 1
            self._changed.notify_all()

    def wait(self) -> None:
        """Returns when nothing is going on."""
        with self._changed:
            self._changed.wait_for(lambda: self._count == 0)


class Job:
    """Something to do for the worker, and its future result.

    lane:     jobs of one lane come in their order, lanes take turns
    on_stop:  called when another job takes this one's place: it should end soon
    is_minor: gives way to every other job
    """

    def __init__(
        self,
        run: Callable[[], object],
        *,
        lane: str = "",
        on_stop: Callable[[], None] = lambda: None,
        is_minor: bool = False,
    ) -> None:
        self.lane, self.is_minor, self.is_stopping = lane, is_minor, False
        self.result: Future[object] = Future()
        self._run, self._on_stop = run, on_stop

    def stop(self) -> None:
        """Asks the job to end; when its turn has not come yet, it will find out then."""
        self.is_stopping = True
        self._on_stop()

    def run(self) -> None:
        """Keeps what the job returns or raises in `result`."""
        try:
            returned = self._run()
        except BaseException as error:  # whoever waits for the result gets it
            self.result.set_exception(error)
        else:
            self.result.set_result(returned)


class Worker:
    """Does jobs one by one."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._urgent: list[Job] = []
        self._waiting: list[Job] = []
        self._running: Job | None = None
        self._turns: dict[str, int] = {}  # when each lane had its last turn
        self._turn = 0
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, name="molmo_worker")
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many jobs stand in line, without those that give way to all others."""
        with self._changed:
            return sum(not job.is_minor for job in self._waiting)

    def submit(self, job: Job, policy: str = "queue", limit: int = 1) -> bool:
        """Puts a job in line; false when there is no room for it.

        policy: with "reject" the job must find nobody else; with "replace" it takes the place of
            the others in its lane; with "queue" it waits
        limit:  how many may wait behind the one that runs
        """
        with self._changed:
            if policy == "replace":
                self._give_way(lambda other: other.lane == job.lane)
            others = [o for o in self._all() if not (o.is_minor or o.is_stopping)]
            if self._is_closed or len(others) > (0 if policy == "reject" else limit):
                return False
            if not job.is_minor:
                self._give_way(lambda other: other.is_minor and other is self._running)
            self._waiting.append(job)
            self._changed.notify_all()
            return True

    def withdraw(self, job: Job) -> bool:
        """Takes a job out of the line; false when its turn has come already."""
        with self._changed:
            if job not in self._waiting:
                return False
            self._waiting.remove(job)
            return True

    def call(self, work: Callable[[], T]) -> T:
        """Does something before all that waits; returns its result, or raises what it raised."""
        job = Job(work)
        with self._changed:
            self._urgent.append(job)
            self._changed.notify_all()
        return job.result.result()  # type: ignore[return-value]

    def close(self) -> None:
        """Waits for the running job and ends the thread; what waits is not done."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._thread.join()

    def _all(self) -> list[Job]:
        return [*self._waiting, *([self._running] if self._running else [])]

    def _give_way(self, whom: Callable[[Job], bool]) -> None:
        """Asks those to stop who shall make room for another."""
        for job in self._all():
            if whom(job):
                job.stop()

    def _work(self) -> None:
        while (job := self._next()) is not None:
            job.run()

    def _next(self) -> Job | None:
        """The next job, when there is one; None when the worker is closed."""
        with self._changed:
            self._running = None
            self._changed.wait_for(lambda: self._urgent or self._waiting or self._is_closed)
            if self._urgent:
                self._running = self._urgent.pop(0)
            elif self._is_closed:
                return None
            else:
                self._running = min(self._waiting, key=self._rank)
                self._waiting.remove(self._running)
                self._turn += 1
                self._turns[self._running.lane] = self._turn
            return self._running

    def _rank(self, job: Job) -> tuple[bool, int]:
        """Minor jobs last; then the lane whose turn is longest ago; min keeps the order."""
        return job.is_minor, self._turns.get(job.lane, 0)
