"""Fills a picture store from the web: many requests at once, few to each host, with retries.

What a server says is believed (404, no picture) and not asked again for a month; a server that is
silent or in trouble is asked again a day later. Silence counts only while others answer: without a
network nothing is called dead. Knows neither data sets nor the wire (see store_download.py).
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from time import time
from typing import Any

from molmo_model.pictures import PictureError, open_picture
from molmo_training.records import Remote
from molmo_training.store import DiskStore, StoreError, is_another
from molmo_training.store_download import Downloader, Limits, PassingError, RefusedError
from molmo_training.store_index import Dead, File
from molmo_training.store_turns import Turn, Turns

DAY_S = 86400.0
LONGEST_WAIT_S = 120.0  # that a server may ask for within a run
SILENCES = 500  # in a row, before we say that there is no network
ANOTHER = "another file than the data set was made of"


@dataclass(frozen=True, kw_only=True)
class Fetching:
    """How pictures are fetched.

    jobs, per_host: requests at a time, in all and to one host
    attempts:       for one picture
    back_off_s:     before the second attempt; doubled with each, times a random 0.5 to 1.5
    dead_days:      how long a dead link is believed; at most one day if its server was in trouble
    """

    jobs: int = 32
    per_host: int = 4
    attempts: int = 4
    back_off_s: float = 1.0
    dead_days: float = 30.0
    limits: Limits = field(default_factory=Limits)

    def is_due(self, dead: Dead) -> bool:
        """Whether a dead link is worth another look."""
        days = self.dead_days if dead.is_sure else min(self.dead_days, 1.0)
        return time() - dead.at >= days * DAY_S


@dataclass
class Report:
    """What came of the pictures so far.

    asked:     different URLs
    here:      were in the store already, with the right hash
    fetched:   are new, and `truncated` of them break off
    dead:      give no picture, and `known` of them were known to; why is in `reasons`
    refused:   were not asked for; why is in `reasons`
    silent:    had no server that answers, nor had any other: they count as not tried
    size:      bytes that were kept
    """

    asked: int = 0
    here: int = 0
    fetched: int = 0
    truncated: int = 0
    dead: int = 0
    known: int = 0
    refused: int = 0
    silent: int = 0
    size: int = 0
    seconds: float = 0.0
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def done(self) -> int:
        return self.here + self.fetched + self.dead + self.refused + self.silent

    def figures(self) -> dict[str, Any]:
        """All of it under names that programs read."""
        names = ("asked", "here", "fetched", "truncated", "dead", "known", "refused", "silent")
        rate = self.fetched / self.seconds if self.seconds else 0.0
        return {name: getattr(self, name) for name in names} | {
            "bytes": self.size,
            "seconds": round(self.seconds, 3),
            "pictures_per_s": round(rate, 2),
            "reasons": dict(self.reasons.most_common()),
        }


def fetch(
    store: DiskStore,
    remotes: Iterable[Remote],
    how: Fetching,
    on_progress: Callable[[Report], None] | None = None,
) -> Report:
    """Fetches what the store lacks; on_progress is told after each picture.

    Interrupted, whatever is in the store is whole, and the same call goes on. Several processes
    may fetch the same: each goes its own way through them and passes over what others brought.

    raises: StoreError when the disk refuses, or when no server answers at all.
    """
    store.open_for_writing()
    wanted = {remote.url: remote for remote in remotes}
    return asyncio.run(_Collector(store, how, on_progress).run(list(wanted.values())))


class _Collector:
    """One run."""

    def __init__(
        self, store: DiskStore, how: Fetching, on_progress: Callable[[Report], None] | None
    ):
        self.store, self.how, self.report = store, how, Report()
        self._tell = on_progress or (lambda report: None)
        self._silent: list[tuple[Remote, Dead]] = []  # since the last answer of a server
        self._has_answers = False
        self._left_alone: dict[str, Dead] = {}  # hosts that ask for too long a wait
        self._decoders = ThreadPoolExecutor(os.cpu_count())
        self._began = time()

    async def run(self, remotes: list[Remote]) -> Report:
        self.report.asked = len(remotes)
        missing = [remote for remote in remotes if not self._is_settled(remote)]
        random.Random().shuffle(missing)
        self._told()
        self._turns = Turns(missing, self.how.per_host)
        self._downloader = Downloader(self.how.limits, self.how.jobs)
        names = ThreadPoolExecutor(self.how.jobs)  # a name that is not found takes seconds
        asyncio.get_running_loop().set_default_executor(names)
        workers = [asyncio.ensure_future(self._work()) for _ in range(self.how.jobs)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            await self._downloader.close()
            self._decoders.shutdown()
        self._end()
        return self.report

    def _end(self) -> None:
        """What to make of those whose servers were silent to the end."""
        if self._has_answers:
            self._answered()
        self.report.silent = len(self._silent)
        self.report.reasons.update(_kind(dead.reason) for _, dead in self._silent)
        self._told()

    async def _work(self) -> None:
        while (turn := await self._turns.take()) is not None:
            is_settled = self._is_settled(turn.remote)  # perhaps another process was here
            wait_s = None if is_settled else await self._attempt(turn)
            if wait_s is None:
                self._turns.done(turn)
            else:
                self._turns.again(turn, wait_s)
            self._told()

    async def _attempt(self, turn: Turn) -> float | None:
        """Tries once; returns how long to wait before the next attempt, if any."""
        remote = turn.remote
        if turn.host in self._left_alone:
            self._bury(remote, self._left_alone[turn.host])
            return None
        try:
            data = await self._downloader.get(remote.url)
        except RefusedError as error:
            if error.is_ours:
                self.report.refused += 1
                self.report.reasons[_kind(str(error))] += 1
            else:
                self._answered()
                self._bury(remote, Dead(str(error), time(), is_sure=True))
        except PassingError as error:
            return await self._stumbled(turn, error)
        else:
            self._answered()
            await self._keep(remote, data)
        return None

    async def _stumbled(self, turn: Turn, error: PassingError) -> float | None:
        """After an attempt that failed for now: the wait before the next, if any."""
        if not error.is_silent:
            self._answered()
        doubled_s = self.how.back_off_s * 2.0 ** (turn.attempt - 1)
        wait_s = max(error.wait_s, doubled_s * random.uniform(0.5, 1.5))
        dead = Dead(str(error), time(), is_sure=False)
        if error.is_busy and wait_s > LONGEST_WAIT_S:
            self._left_alone[turn.host] = dead
        elif error.is_busy:
            self._turns.rest(turn.host, wait_s)
        if turn.attempt < self.how.attempts and wait_s <= LONGEST_WAIT_S:
            return wait_s
        if error.part and not turn.remote.sha256:  # its server never sends it whole
            await self._keep(turn.remote, error.part, dead)
        elif error.is_silent:
            self._note_silence(turn.remote, dead)
        else:
            self._bury(turn.remote, dead)
        return None

    async def _keep(self, remote: Remote, data: bytes, otherwise: Dead | None = None) -> None:
        """Puts a picture into the store; what is none is dead, for this reason or another."""
        try:
            loop = asyncio.get_running_loop()
            file = await loop.run_in_executor(self._decoders, self._put, remote, data)
        except PictureError as error:
            reason = str(error).removeprefix("the picture: ")
            self._bury(remote, otherwise or Dead(reason, time(), is_sure=True))
            return
        self.store.note(remote.url, file)
        if is_another(file.sha256, remote.sha256):
            self._count_dead(ANOTHER)
            return
        self.report.fetched += 1
        self.report.truncated += file.is_truncated
        self.report.size += file.size

    def _put(self, remote: Remote, data: bytes) -> File:
        """In a thread: a file with the wanted hash is as published, any other must open."""
        is_published = hashlib.sha256(data).hexdigest() == remote.sha256.lower()
        is_truncated = not is_published and _breaks_off(data)
        return File(self.store.put(data), len(data), time(), is_truncated)

    def _note_silence(self, remote: Remote, dead: Dead) -> None:
        self._silent.append((remote, dead))
        if len(self._silent) >= SILENCES:
            raise StoreError(
                f"the last {SILENCES} pictures had no server that answers ({dead.reason}). Is "
                "there a network? What is in the store stays, and the same command goes on"
            )

    def _is_settled(self, remote: Remote) -> bool:
        """Whether there is nothing to fetch, counting it."""
        found = self.store.state(remote.url)
        if found is None or (isinstance(found, Dead) and self.how.is_due(found)):
            return False
        if isinstance(found, Dead):
            self.report.known += 1
            self._count_dead(found.reason)
        elif is_another(found, remote.sha256):
            self.report.known += 1
            self._count_dead(ANOTHER)
        else:
            self.report.here += 1
        return True

    def _answered(self) -> None:
        """There is a network: those that were silent before are to blame themselves."""
        self._has_answers = True
        silent, self._silent = self._silent, []
        for remote, dead in silent:
            self._bury(remote, dead)

    def _bury(self, remote: Remote, dead: Dead) -> None:
        self.store.note(remote.url, dead)
        self._count_dead(dead.reason)

    def _count_dead(self, reason: str) -> None:
        self.report.dead += 1
        self.report.reasons[_kind(reason)] += 1

    def _told(self) -> None:
        self.report.seconds = time() - self._began
        self._tell(self.report)


def _kind(reason: str) -> str:
    """A reason without what is of this link alone."""
    return reason.partition(":")[0]


def _breaks_off(data: bytes) -> bool:
    """Whether a picture is truncated; raises PictureError for what is none."""
    try:
        open_picture(data)
    except PictureError:
        open_picture(data, keep_truncated=True)
        return True
    return False
