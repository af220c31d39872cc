"""The checkpoints of a run on disk: each whole or not there, the last and the best kept.

A checkpoint is written into a folder of another name, flushed to the disk, and renamed. Whatever
happens before the rename (a kill, a full disk) leaves the one before as it was. Knows nothing of
what is in it.

    runs/mine/step-0000500/   last -> step-0000500   best -> step-0000300
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError

from molmo_training.distributed import Worker

log = logging.getLogger(__name__)
LAST, BEST = "last", "best"
Fill = Callable[[Path], None]


class CheckpointError(OSError):
    """Work that could not be saved when the run had to end."""


class Checkpoints:
    """The checkpoints in one directory, written by all processes together."""

    def __init__(self, directory: Path, worker: Worker):
        """directory: all processes see it, on all machines."""
        self.directory, self.worker = directory, worker

    def newest(self) -> Path | None:
        """The last one that is whole."""
        steps = [_step_of(path) for path in self.directory.glob("step-*")]
        found = int(self.worker.told(max(filter(None, steps), default=0)))
        return self._path(found) if found else None

    def write(self, step: int, fill: Fill, *, is_best: bool = False) -> bool:
        """Adds one; fill writes this process's files into a folder.

        returns: False when it could not be written; the log says why, the others are untouched
        """
        done, part = self._path(step), self._path(step).with_suffix(".part")
        if self.worker.rank == 0:
            shutil.rmtree(part, ignore_errors=True)
        self.worker.all_agree(True)  # nobody writes before that
        written = self.worker.all_agree(self._tried(step, lambda: _fill(part, fill)))
        if written:  # by all: no name changes any more
            written = self.worker.all_agree(self._tried(step, lambda: _flush_all(part)))
        if written and self.worker.rank == 0:
            written = self._tried(step, lambda: self._finish(part, done, is_best))
        if not (kept := self.worker.all_agree(written)) and self.worker.rank == 0:
            shutil.rmtree(part, ignore_errors=True)
        return kept

    def _tried(self, step: int, write: Callable[[], None]) -> bool:
        try:
            write()
        except (OSError, SafetensorError) as error:
            log.error(
                "step %d: no checkpoint in %s (%s). The one before is intact and the run goes on; "
                "make room before the next",
                *(step, self.directory, error),
            )
            return False
        return True

    def _finish(self, part: Path, done: Path, is_best: bool) -> None:
        """Gives the folder its name, and what leads to it; removes what nothing leads to."""
        _flush(part)
        if done.exists():
            shutil.rmtree(done)
        part.rename(done)
        _flush(self.directory)
        for name in (LAST, BEST) if is_best else (LAST,):
            link = self.directory / f"{name}.part"
            link.unlink(missing_ok=True)
            link.symlink_to(done.name)
            link.replace(self.directory / name)
        _flush(self.directory)
        kept = {(self.directory / name).resolve() for name in (LAST, BEST)}
        for path in self.directory.glob("step-*"):
            if path.resolve() not in kept:
                shutil.rmtree(path, ignore_errors=True)

    def _path(self, step: int) -> Path:
        return self.directory / f"step-{step:07d}"


def _fill(part: Path, fill: Fill) -> None:
    part.mkdir(parents=True, exist_ok=True)
    fill(part)


def _flush_all(part: Path) -> None:
    for path in part.rglob("*"):
        if path.is_file():
            path.chmod(0o644)  # safetensors makes it readable by its owner only
        _flush(path)


def _step_of(path: Path) -> int | None:
    """The step in the name of a whole checkpoint."""
    digits = path.name.removeprefix("step-")
    return int(digits) if digits.isdigit() else None


def _flush(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
