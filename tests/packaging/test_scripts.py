"""The set-up scripts: sound shell, and one clear sentence for what a machine lacks."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = [ROOT / ".ci" / "run", *(ROOT / "scripts" / name for name in ("setup", "demo", "test"))]
TOOLS = ("bash", "cat", "cp", "cut", "dirname", "env", "find", "flock", "mkdir", "rm")
TOOLS += ("sha256sum", "sort", "touch", "uname")

OLD = "[ $1 = --version ] && echo Python 3.8.10; exit 1"
WITHOUT_VENV = '[ $1 = --version ] && echo Python 3.12.3; case "$2" in *ensurepip*) exit 1; esac'
# Makes environments whose Python is itself, and dies with set-up while it installs packages.
KILLED = """case "$1 $2" in
  "-m venv") mkdir "$3/bin"; cp "$0" "$3/bin/python" ;;
  "-m pip") kill -9 $PPID ;;
esac"""


@pytest.fixture
def machine(tmp_path):
    """A bare machine: the scripts, a few tools, and a Python that is this shell script."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in TOOLS:
        (tools / tool).symlink_to(shutil.which(tool))

    def setup(python: str, *more: str) -> subprocess.CompletedProcess:
        for name, text in {"python3": python, **dict.fromkeys(more, "")}.items():
            (tools / name).write_text(f"#!/bin/sh\n{text}\n")
            (tools / name).chmod(0o755)
        command = [str(tmp_path / "scripts" / "setup")]
        environment = {"PATH": str(tools), "HOME": os.environ["HOME"]}
        return subprocess.run(command, env=environment, text=True, capture_output=True)

    return setup


def test_the_scripts_are_sound():
    files = [*SCRIPTS, ROOT / "scripts" / "lib.sh"]
    done = subprocess.run(["shellcheck", "-x", *files], text=True, stdout=subprocess.PIPE)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("python", "sentence"),
    [
        (OLD, "error: Python 3.8.10 is too old: Python 3.10 or newer is needed."),
        (WITHOUT_VENV, "error: Python 3.12.3 cannot make virtual environments: apt install"),
        ("", "error: no C++ compiler: apt install g++"),
    ],
)
def test_what_is_missing_is_said_in_a_sentence(machine, python, sentence):
    done = machine(python)
    assert done.returncode == 1
    assert done.stderr.startswith(sentence)


def test_an_interrupted_environment_is_made_anew(machine, tmp_path):
    assert machine(KILLED, "c++").returncode == -signal.SIGKILL
    (tmp_path / ".venv" / "half").touch()
    again = machine(KILLED, "c++")
    assert again.stderr.startswith("The last set-up was interrupted")
    assert (tmp_path / ".venv" / "bin" / "python").exists()
    assert not (tmp_path / ".venv" / "half").exists()


def test_an_environment_stays_when_pip_fails(machine, tmp_path):
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to("/bin/false")
    for _ in range(2):
        done = machine("", "c++")
        assert done.stderr.endswith(
            "error: pip could not install the packages: is there a network?\n"
        )
        assert python.is_symlink()
