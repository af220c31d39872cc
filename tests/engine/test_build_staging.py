"""Wherever a build is killed, the bundle stays whole; the next build clears what was left."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from double import ARCHITECTURE, BUILDER, add_double_plans

from molmo_engine.build_staging import staged
from molmo_engine.bundle import Bundle, BundleError
from molmo_engine.plans import find_plan

SHIPPED = Path(__file__).parent.parent.parent / "assets" / "molmo-tiny" / "bundle"

# Builds with weights embedded, and dies at the n-th call that changes a name on the disk.
DYING = """
import os, signal, sys
from pathlib import Path
from double import add_double_plans

left = int(sys.argv[2])

def dying(real):
    def call(*arguments, **named):
        global left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **named)
    return call

for name in ("mkdir", "replace", "unlink"):
    setattr(os, name, dying(getattr(os, name)))
add_double_plans(Path(sys.argv[1]), "embedded")
"""


def build_and_die(bundle: Path, calls: int) -> bool:
    """Whether it died before it was done."""
    done = subprocess.run(
        [sys.executable, "-c", DYING, str(bundle), str(calls)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, -9), done.stderr
    return done.returncode != 0


def kinds(bundle: Path) -> set[str]:
    """How the plans of a whole bundle have their weights; raises when one is damaged."""
    opened = Bundle.open(bundle)
    return {find_plan(opened, p, BUILDER, ARCHITECTURE).weights for p in ("vision", "decoder")}


def files(bundle: Path) -> list[str]:
    return sorted(str(path.relative_to(bundle)) for path in bundle.rglob("*") if path.is_file())


def test_a_build_killed_anywhere_leaves_the_old_plans_or_the_new_ones(tmp_path):
    seen = []
    for calls in range(1, 20):
        bundle = shutil.copytree(SHIPPED, tmp_path / str(calls))
        add_double_plans(bundle, "external")
        died = build_and_die(bundle, calls)
        seen.append(kinds(bundle))
        add_double_plans(bundle, "embedded")
        assert len(files(bundle)) == len(files(SHIPPED)) + 2
        if not died:
            break
    assert not died
    assert seen[0] == {"external"}
    assert seen[-1] == {"embedded"}
    assert all(len(one) == 1 for one in seen)


def test_two_builds_at_once_are_refused(tmp_path):
    handle = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(BundleError, match="another process is building it"), staged(tmp_path):
        pass
    os.close(handle)
    with staged(tmp_path) as staging:
        assert staging.is_dir()
    assert not staging.exists()


def test_a_second_build_replaces_the_first(tmp_path):
    bundle = shutil.copytree(SHIPPED, tmp_path / "bundle")
    for weights in ("external", "embedded", "embedded"):
        add_double_plans(bundle, weights)
        assert kinds(bundle) == {weights}
        assert len(files(bundle)) == len(files(SHIPPED)) + 2
