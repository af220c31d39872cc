"""Whose turn it is: deals URLs out to workers so that no host gets more requests than its share.

A URL that waits, because its host is busy or rests, holds no worker. Knows no network.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from molmo_training.records import Remote


@dataclass(frozen=True)
class Turn:
    """One attempt at a picture; attempt: 1, 2, ..."""

    remote: Remote
    host: str
    attempt: int = 1


class Turns:
    """The pictures that are still to be fetched."""

    def __init__(self, remotes: Iterable[Remote], per_host: int):
        """per_host: requests to one host at a time."""
        self._per_host = per_host
        self._waiting: dict[str, deque[Turn]] = defaultdict(deque)
        self._busy: Counter[str] = Counter()
        self._rests_until: dict[str, float] = {}
        self._ready: asyncio.Queue[Turn | None] = asyncio.Queue()
        self._left = 0
        for remote in remotes:
            host = _host_of(remote.url)
            self._waiting[host].append(Turn(remote, host))
            self._left += 1
        for host in list(self._waiting):
            self._deal(host)
        if not self._left:
            self._ready.put_nowait(None)

    async def take(self) -> Turn | None:
        """The next attempt, which ends with `done` or `again`; None when all is done."""
        turn = await self._ready.get()
        while turn is not None and turn.host in self._rests_until:  # since it was dealt
            self._busy[turn.host] -= 1
            self._waiting[turn.host].appendleft(turn)
            turn = await self._ready.get()
        if turn is None:
            self._ready.put_nowait(None)  # for the next worker
        return turn

    def done(self, turn: Turn) -> None:
        """Nothing more is to be tried."""
        self._left -= 1
        if not self._left:
            self._ready.put_nowait(None)
        self._leave(turn.host)

    def again(self, turn: Turn, after_s: float) -> None:
        """The picture gets another attempt, not before some time."""
        again = replace(turn, attempt=turn.attempt + 1)
        asyncio.get_running_loop().call_later(after_s, self._line_up, again)
        self._leave(turn.host)

    def rest(self, host: str, wait_s: float) -> None:
        """Leaves a host alone for a while."""
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_s
        if until > self._rests_until.get(host, 0.0):
            self._rests_until[host] = until
            loop.call_at(until, self._wake, host, until)

    def _wake(self, host: str, until: float) -> None:
        if self._rests_until.get(host) == until:
            del self._rests_until[host]
            self._deal(host)

    def _line_up(self, turn: Turn) -> None:
        self._waiting[turn.host].append(turn)
        self._deal(turn.host)

    def _leave(self, host: str) -> None:
        self._busy[host] -= 1
        self._deal(host)

    def _deal(self, host: str) -> None:
        waiting = self._waiting[host]
        while waiting and self._busy[host] < self._per_host and host not in self._rests_until:
            self._busy[host] += 1
            self._ready.put_nowait(waiting.popleft())


def _host_of(url: str) -> str:
    """The host in a URL; what is no URL has none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
