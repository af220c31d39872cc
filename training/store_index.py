"""What a picture store knows of URLs: the hash of the file it has, or why a link is dead.

A file of JSON lines that only grows. Processes append to it under a lock; a line that a crash cut
off is passed over. Stores are joined by joining their files. Knows no network and no pictures.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class File:
    """The file that a URL gave.

    size: bytes
    at:   when, in seconds since 1970
    """

    sha256: str
    size: int
    at: float
    is_truncated: bool = False


@dataclass(frozen=True, slots=True)
class Dead:
    """A link that gave no picture.

    at:      when, in seconds since 1970
    is_sure: a server said so, or sent something else; not: it was silent or in trouble
    """

    reason: str
    at: float
    is_sure: bool

    @property
    def date(self) -> str:
        return _date(self.at)[:10]


class Index:
    """URL -> what is known of it. About 200 bytes of memory for each URL."""

    def __init__(self, path: Path):
        self.path = path
        self._known: dict[bytes, bytes | Dead] = {}
        self._read = 0  # bytes
        self.refresh()

    def find(self, url: str) -> str | Dead | None:
        """The SHA-256 of its file in hex, why it has none, or None if it was never asked for."""
        found = self._known.get(_key(url))
        return found.hex() if isinstance(found, bytes) else found

    def refresh(self) -> None:
        """Reads what was written since, by whatever process; threads may do so together."""
        read = self._read
        try:
            if self.path.stat().st_size <= read:
                return
            with self.path.open("rb") as file:
                file.seek(read)
                for line in file:
                    if not line.endswith(b"\n"):
                        break  # still being written, or cut off
                    read += len(line)
                    self._learn(line)
        except FileNotFoundError:
            return
        self._read = read

    def add(self, url: str, found: File | Dead) -> None:
        """Notes what a URL gave; that it is dead changes nothing for one that has a file."""
        line: dict[str, Any] = {"url": url, "at": _date(found.at)}
        if isinstance(found, File):
            line |= {"sha256": found.sha256, "bytes": found.size}
            line |= {"truncated": True} if found.is_truncated else {}
        else:
            line |= {"dead": found.reason, "sure": found.is_sure}
        text = json.dumps(line, ensure_ascii=False) + "\n"
        self._append(text.encode("utf-8", "backslashreplace"))
        self.refresh()

    def _append(self, data: bytes) -> None:
        """Writes a line behind whatever others wrote, ending a line that was cut off."""
        with _locked(self.path) as handle:
            size = os.fstat(handle).st_size
            if size and os.pread(handle, 1, size - 1) != b"\n":
                data = b"\n" + data
            while data:
                data = data[os.write(handle, data) :]

    def _learn(self, line: bytes) -> None:
        try:
            raw = json.loads(line)
            key = _key(str(raw["url"]))
            if "sha256" in raw:
                self._known[key] = bytes.fromhex(raw["sha256"])
            elif not isinstance(self._known.get(key), bytes):
                at = datetime.fromisoformat(raw["at"]).timestamp()
                self._known[key] = Dead(str(raw["dead"]), at, bool(raw["sure"]))
        except (ValueError, KeyError, TypeError):
            if line.strip():
                log.warning("%s: passing over a damaged line: %r", self.path, line[:80])


def _key(url: str) -> bytes:
    return hashlib.sha256(url.encode("utf-8", "backslashreplace")).digest()[:16]


def _date(at: float) -> str:
    return datetime.fromtimestamp(at, timezone.utc).isoformat(timespec="seconds")


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """The file for appending, while no other process appends."""
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle
    finally:
        os.close(handle)
