"""One thread that owns the engine and does one thing at a time.

Loading, answering and freeing all happen in this thread, because device contexts belong to the
thread that made them. Knows nothing of ROS and nothing of questions.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class InFlight:
    """Counts what is going on (`with in_flight:`), so that somebody can wait for its end."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count = 0

    def __enter__(self) -> None:
        with self._changed:
            self._count += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._count -= 1
            self._changed.notify_all()

    def wait(self) -> None:
        """Returns when nothing is going on."""
        with self._changed:
            self._changed.wait_for(lambda: self._count == 0)


class Worker:
    """A bounded queue in front of a single thread."""

    def __init__(self, limit: int = 1) -> None:
        """limit: jobs that may be running or waiting; further ones are turned away."""
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="molmo_worker")
        self._room = threading.Semaphore(limit)

    def submit(self, job: Callable[[], T]) -> Future[T] | None:
        """Queues a job; None when the queue is full."""
        if not self._room.acquire(blocking=False):
            return None

        def run() -> T:
            try:
                return job()
            finally:  # before the result is out: who has it may ask again at once
                self._room.release()

        return self._pool.submit(run)

    def call(self, job: Callable[[], T]) -> T:
        """Runs a job behind all queued ones and returns its result, or raises what it raised."""
        return self._pool.submit(job).result()

    def close(self) -> None:
        """Waits for the running job and ends the thread."""
        self._pool.shutdown(wait=True, cancel_futures=True)
