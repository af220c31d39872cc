"""A request that is sent again when that may help, and that its reader may leave at any time.

Everything that blocks (names, connecting, reading, waiting for the next attempt) happens in a
thread of its own, so that a reader notices a cancel or a deadline while the server says nothing.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from queue import Empty, SimpleQueue
from threading import Event, Thread

from molmo_engine.remote_http import Call, PassingError, RemoteError, Server

ATTEMPTS = 4
WAIT_S = 0.25  # before the second attempt, doubled with each
LONGEST_WAIT_S = 30.0  # that a server may ask for
TICK_S = 0.04  # how often a reader may decide to wait no longer

_log = logging.getLogger(__name__)


class Transfer:
    """A POST of JSON on its way from the moment it is made."""

    def __init__(self, server: Server, path: str, body: bytes) -> None:
        self._call = Call(server, path, body)
        self._news: SimpleQueue[bytes | Exception | None] = SimpleQueue()
        self._closed = Event()
        Thread(target=self._run, name="molmo-remote", daemon=True).start()

    def lines(self) -> Iterator[bytes | None]:
        """Lines as they come, None while there is no news; RemoteError, TimeoutError."""
        while True:
            try:
                news = self._news.get(timeout=TICK_S)
            except Empty:
                yield None
                continue
            if news is None:
                return
            if isinstance(news, Exception):
                raise news
            yield news

    def close(self) -> None:
        """Ends the request wherever it is."""
        self._closed.set()
        self._call.end()

    def _run(self) -> None:
        try:
            for attempt in range(1, ATTEMPTS + 1):
                wait_s = self._attempt(attempt)
                if wait_s is None or self._closed.wait(wait_s):
                    break
            self._news.put(None)
        except Exception as error:  # raised again where the lines are read
            self._news.put(error)

    def _attempt(self, attempt: int) -> float | None:
        """Sends the request once; returns how long to wait before the next attempt, if any.

        When the server said anything, there is none: words must not come twice.
        """
        is_silent = True
        try:
            for line in self._call.lines():
                is_silent = False
                self._news.put(line)
            return None
        except PassingError as error:
            wait_s = max(error.wait_s, WAIT_S * 2.0 ** (attempt - 1) * random.uniform(0.8, 1.2))
            if not is_silent:
                raise
            if wait_s > LONGEST_WAIT_S:
                raise RemoteError(f"{error}; it asks to wait for {wait_s:.0f} s") from error
            if attempt == ATTEMPTS:
                raise RemoteError(f"{error}; tried {attempt} times") from error
            _log.info("%s; attempt %d follows in %.1f s", error, attempt + 1, wait_s)
            return wait_s
