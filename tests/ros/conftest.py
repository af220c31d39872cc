"""Nodes that the tests of this folder share, and the robot that talks to them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rclpy
from robot import NodeProcess, Robot, Shot, domain

from molmo_sim.questions import questions_about
from molmo_sim.render import open_renderer
from molmo_sim.scene import sample_scene

BUNDLE = Path(__file__).parents[2] / "assets" / "molmo-tiny" / "bundle"
SIZE = (320, 240)  # larger raw images need larger DDS segments
ENDLESS = {"max_new_tokens": 3500}  # takes the model of random weights seconds
SIZE = (320, 240)


@pytest.fixture(scope="session")
def ros():
    os.environ["ROS_DOMAIN_ID"] = domain()
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    rclpy.init()
    yield
    rclpy.try_shutdown()


@pytest.fixture(scope="session")
def scene() -> tuple[Shot, str, tuple[float, float]]:
    """A rendered table, a request to point to one thing on it, and the pixel that is meant."""
    renderer = open_renderer(*SIZE)
    table = sample_scene(11)
    frame = renderer.render(table)
    renderer.close()
    questions = questions_about(table, frame, np.random.default_rng(0))
    question = next(
        q for q in questions if q.kind == "point" and q.count == 1 and q.label[-1] != "s"
    )
    shot = Shot(frame.rgb, frame.depth_m, table.camera.intrinsics(*SIZE))
    return shot, question.prompt, tuple(np.multiply(question.points[0], SIZE) / 100)


@pytest.fixture
def robot(ros):
    """Talks to a node that the test starts."""
    robot = Robot()
    yield robot
    robot.close()


@pytest.fixture
def host(serving):
    """Talks to the node that is `serving`."""
    yield from restarted("/serve")


@pytest.fixture
def guest(talking):
    """Talks to the node that is `talking`."""
    yield from restarted("/talk")


def restarted(namespace: str) -> Iterator[Robot]:
    """A robot whose node has forgotten what the last test showed it."""
    robot = Robot(namespace)
    assert robot.transition("deactivate")
    assert robot.transition("activate")
    robot.wait_until_active()
    yield robot
    robot.close()


@pytest.fixture(scope="session")
def logs(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="session")
def endless_bundle(tmp_path_factory) -> Path:
    """A bundle of random weights and single-byte tokens: quick to start, and never at an end."""
    from tiny import save_checkpoint

    from molmo_engine.export import export_bundle

    folder = tmp_path_factory.mktemp("endless")
    checkpoint = save_checkpoint(folder / "checkpoint", layers=12)
    export_bundle(checkpoint, folder / "bundle", capacity=4096)
    return folder / "bundle"


def wait_until_active(namespace: str) -> None:
    """A node that starts by itself takes no goals before that."""
    robot = Robot(namespace)
    robot.wait_until_active()
    robot.close()


@pytest.fixture(scope="session")
def serving(ros, logs):
    """An active node with Molmo-tiny, in a namespace of its own."""
    parameters = {"bundle": BUNDLE, "autostart": True}
    with NodeProcess(logs / "serving.log", "-r", "__ns:=/serve", **parameters) as process:
        wait_until_active("/serve")
        yield process
        assert process.stop() == 0, process.log


@pytest.fixture(scope="session")
def talking(ros, logs, endless_bundle):
    """An active node whose answers take seconds."""
    parameters = {"bundle": endless_bundle, "autostart": True, **ENDLESS}
    with NodeProcess(logs / "talking.log", "-r", "__ns:=/talk", **parameters) as process:
        wait_until_active("/talk")
        yield process
        assert process.stop() == 0, process.log
