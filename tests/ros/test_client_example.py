"""The programs in docs/examples run as they stand, against a real node."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped
from robot import PATIENCE_S, bare_table

from molmo_ros.msg import Answer

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def run(host, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs an example in the namespace of the node that is serving, while the robot films."""
    command = [sys.executable, EXAMPLES / name, *arguments, "--ros-args", "-r", "__ns:=/serve"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as program:
        host.until(lambda: program.poll() is not None, "the example to end")
        text, complaint = program.communicate(timeout=PATIENCE_S)
    return subprocess.CompletedProcess(command, program.returncode, text, complaint)


def xyz(point) -> np.ndarray:
    return np.array([point.x, point.y, point.z])


def test_point_and_approach_stops_short_of_what_was_named(host, scene):
    goals: list[PoseStamped] = []
    host.node.create_subscription(PoseStamped, "arm/goal", goals.append, 1)
    answers = host.listen(Answer, "molmo/answer")
    host.film(scene[0])
    done = run(host, "point_and_approach.py", "the green sphere")
    assert done.returncode == 0, done.stderr
    host.until(lambda: goals and answers, "the goal of the arm")
    (waypoint,) = answers[0].waypoints
    assert goals[0].header == answers[0].header
    back = xyz(goals[0].pose.position) - xyz(waypoint.pose.pose.position)
    assert back == pytest.approx(0.10 * xyz(waypoint.normal), abs=1e-3)
    opening_mm = 1000 * waypoint.extent_across_m
    assert done.stdout == f"green sphere: open {opening_mm:.0f} mm at least\n"


def test_point_and_approach_says_why_the_arm_stays(host):
    host.node.create_subscription(PoseStamped, "arm/goal", lambda _: None, 1)
    host.film(bare_table())
    done = run(host, "point_and_approach.py", "the green sphere")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "there is nothing to go to: the green sphere"
