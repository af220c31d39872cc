"""Keeps pictures of the web on disk: each file once, by the SHA-256 of its bytes.

DIR/index.jsonl says which URL gave which file (see store_index.py), DIR/files/ab/ab12... holds
them. A file appears whole or not at all, and is in the index only when it is safe on disk, so a
store may be killed at any instant and be filled by several processes. How pictures are fetched is
in store_fetching.py; reading needs no network.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from time import time
from typing import TYPE_CHECKING

from molmo_model.pictures import PictureError, Rgb, open_picture
from molmo_training.records import Remote
from molmo_training.store_index import Dead, File, Index

if TYPE_CHECKING:
    from molmo_training.store_fetching import Fetching, Report

LEFTOVER_S = 3600.0  # a file aside that is older was left by a process that died


class DeadLinkError(PictureError):
    """A picture of the web that is no more, or that is another now."""


class StoreError(OSError):
    """A store that cannot be used or filled."""


def is_another(sha256: str, wanted: str) -> bool:
    """Whether a file is not the one of the data set; where none is wanted, any is."""
    return bool(wanted) and sha256 != wanted.lower()


class DiskStore:
    """A directory of pictures; a PictureStore for records, and for several processes at once."""

    def __init__(self, directory: Path):
        if directory.exists() and not directory.is_dir():
            raise StoreError(f"{directory}: is a file; a store wants a directory")
        self.directory = directory
        self._files, self._aside = directory / "files", directory / "aside"
        self.index = Index(directory / "index.jsonl")

    def load(self, url: str, sha256: str = "") -> Rgb:
        """The pixels, (H, W, 3) uint8; of a file that breaks off those that it has."""
        return open_picture(self.read(url, sha256), keep_truncated=True)

    def read(self, url: str, sha256: str = "") -> bytes:
        """The file behind a URL.

        raises: DeadLinkError for a dead link, and for a file that has not the wanted hash;
                PictureError for one that was never fetched, or whose file is lost or damaged.
        """
        found = self._look_up(url)
        if found is None:
            raise PictureError(f"{url}: not in {self.directory}; fetch it with: molmo collect")
        if isinstance(found, Dead):
            raise DeadLinkError(f"{url}: dead since {found.date}: {found.reason}")
        if is_another(found, sha256):
            raise DeadLinkError(f"{url}: now gives another file than the data set was made of")
        path = self._path(found)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise PictureError(f"{url}: {path} is gone; fetch it again: molmo collect") from None
        if hashlib.sha256(data).hexdigest() != found:
            raise PictureError(f"{url}: {path} is damaged; delete it and run molmo collect again")
        return data

    def fetch(
        self,
        remotes: Iterable[Remote],
        how: Fetching | None = None,
        on_progress: Callable[[Report], None] | None = None,
    ) -> Report:
        """Fetches what is not here yet, and says what came of it; see store_fetching.py."""
        from molmo_training.store_fetching import Fetching, fetch

        return fetch(self, remotes, how or Fetching(), on_progress)

    def lacking(self, remotes: Iterable[Remote]) -> set[str]:
        """The URLs of pictures that are not here as wanted: what a data set is to leave out."""
        lacking = set()
        for remote in remotes:
            found = self.state(remote.url)
            if not isinstance(found, str) or is_another(found, remote.sha256):
                lacking.add(remote.url)
        return lacking

    def state(self, url: str) -> str | Dead | None:
        """The hash of a file that is here, why a link is dead, or None: it is to be fetched."""
        found = self._look_up(url)
        return None if isinstance(found, str) and not self._path(found).exists() else found

    def put(self, data: bytes) -> str:
        """Writes a file, from any thread; returns its hash. Raises StoreError when it cannot."""
        sha256 = hashlib.sha256(data).hexdigest()
        try:
            if not self._path(sha256).exists():
                self._write(self._path(sha256), data)
        except OSError as error:
            raise self._cannot_write(error) from error
        return sha256

    def note(self, url: str, found: File | Dead) -> None:
        """Writes into the index what a URL gave. Raises StoreError when it cannot."""
        try:
            self.index.add(url, found)
        except OSError as error:
            raise self._cannot_write(error) from error

    def open_for_writing(self) -> None:
        """Makes the directories, and removes what processes left behind that died."""
        try:
            for folder in (self._files, self._aside):
                folder.mkdir(parents=True, exist_ok=True)
            for path in self._aside.iterdir():
                with suppress(FileNotFoundError):
                    if path.stat().st_mtime < time() - LEFTOVER_S:
                        path.unlink()
        except OSError as error:
            raise self._cannot_write(error) from error

    def _look_up(self, url: str) -> str | Dead | None:
        found = self.index.find(url)
        if not isinstance(found, str):
            self.index.refresh()  # perhaps another process has it meanwhile
            found = self.index.find(url)
        return found

    def _path(self, sha256: str) -> Path:
        return self._files / sha256[:2] / sha256

    def _write(self, path: Path, data: bytes) -> None:
        """Writes aside, to the disk, and renames."""
        path.parent.mkdir(exist_ok=True)
        handle, aside = tempfile.mkstemp(dir=self._aside)
        try:
            with open(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(aside, 0o644)
            os.replace(aside, path)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(aside)
            raise

    def _cannot_write(self, error: OSError) -> StoreError:
        return StoreError(
            f"{self.directory}: cannot be written: {error.strerror or error}. Nothing in it is "
            "lost: make room or give access, and the same command goes on"
        )
