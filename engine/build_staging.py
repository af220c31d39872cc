"""Lets the plans of a build appear in their bundle together, or not at all.

Plans are written into a directory of their own and named by their content before they move, so
that a kill at any instant leaves a manifest whose files are the ones it was written for.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from molmo_engine.bundle import PLANS, BundleError, Plan, read_manifest, sha256
from molmo_engine.plans import add_plans

PREFIX = ".plans."


@contextmanager
def staged(bundle: Path) -> Iterator[Path]:
    """A directory to write plans into; one build at a time, and what killed ones left goes."""
    handle = os.open(bundle, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for left in bundle.glob(f"{PREFIX}*"):
            shutil.rmtree(left)
        with tempfile.TemporaryDirectory(prefix=PREFIX, dir=bundle) as staging:
            yield Path(staging)
    except BlockingIOError as error:
        raise BundleError(f"{bundle}: another process is building it; wait for that") from error
    finally:
        os.close(handle)


def take_in(bundle: Path, staging: Path, plans: Sequence[Plan]) -> list[Plan]:
    """Moves finished plans from `staging` to where they name their files, and records them.

    Returns them with the names they got.
    """
    moved = []
    for plan in plans:
        path = staging / Path(plan.file).name
        path.chmod(0o644)
        _flush(path)
        target = bundle / plan.file
        target = target.with_name(f"{target.stem}-{sha256(path)[:8]}{target.suffix}")
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, target)
        _flush(target.parent)
        moved.append(replace(plan, file=target.relative_to(bundle).as_posix()))
    add_plans(bundle, moved)
    _remove_unnamed(bundle)
    return moved


def _remove_unnamed(bundle: Path) -> None:
    """Deletes plans that the manifest does not name any more."""
    named = {plan.file for plan in read_manifest(bundle).plans}
    for path in (bundle / PLANS).glob("*/*.plan"):
        if path.relative_to(bundle).as_posix() not in named:
            path.unlink()
            if not any(path.parent.iterdir()):
                path.parent.rmdir()


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)
