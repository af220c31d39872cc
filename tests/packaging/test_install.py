"""The two ways to install: colcon in a workspace, and pip on a machine without ROS."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VERSION = re.search(r"<version>(.+)</version>", (ROOT / "package.xml").read_text())[1]
NOT_SOURCES = (".*", "build", "install", "log", "runs", "demo_output", "__pycache__", "*.egg-info")
COLCON = ("colcon", "--log-base", "log", "build", "--base-paths")
PROBE = """
import molmo_ros.cell, molmo_engine
from molmo_ros.msg import Answer
print(molmo_ros.__file__, Answer.OK)
"""


@pytest.fixture
def sources(tmp_path) -> Path:
    """A copy to build in: this checkout may be built already."""
    return Path(
        shutil.copytree(ROOT, tmp_path / "sources", ignore=shutil.ignore_patterns(*NOT_SOURCES))
    )


def run(*command: object, cwd: Path, **environment: str) -> str:
    """What a command prints; fails with all of it."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_colcon_installs_copies_that_work_without_the_sources(sources, tmp_path):
    run(*COLCON, sources, cwd=tmp_path, MAKEFLAGS=f"-j{os.cpu_count()}")
    shutil.rmtree(sources)
    script = """
        unset PYTHONPATH
        . install/local_setup.sh
        python -c "$PROBE"
        molmo --help
        python -c "import runpy; runpy.run_path('install/molmo_ros/bin/molmo')" # as spawn() does
        ls install/molmo_ros/lib/molmo_ros install/molmo_ros/share/molmo_ros/launch
    """
    printed = run("sh", "-ec", script, cwd=tmp_path, PROBE=PROBE)
    assert f"{tmp_path}/install/molmo_ros" in printed
    assert "Usage: molmo" in printed
    assert {"molmo_node", "camera_node", "molmo.launch.py"} <= set(printed.split())


def test_a_workspace_finds_one_package_in_the_checkout():
    """The stand-in for tf2_msgs must not hide that of a ROS 2 installation."""
    listed = run("colcon", "list", "--names-only", "--base-paths", ROOT, cwd=ROOT)
    names = [line for line in listed.splitlines() if not line.startswith("[")]
    assert names == ["molmo_ros"]


def test_pip_installs_the_parts_that_need_no_ros(sources, tmp_path):
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "-qq", "--no-deps", "--no-build-isolation"]
    run(*pip, "--target", site, sources, cwd=tmp_path)
    program = (
        "import sys; sys.modules['rclpy'] = None\n"
        "import importlib.metadata, molmo_cli.main, molmo_engine.records, molmo_model.config\n"
        "print(molmo_engine.__file__, importlib.metadata.version('molmo_ros'))"
    )
    printed = run(sys.executable, "-c", program, cwd=tmp_path, PYTHONPATH=str(site))
    assert printed.split() == [str(site / "molmo_engine" / "__init__.py"), VERSION]
