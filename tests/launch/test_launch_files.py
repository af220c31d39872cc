"""The launch files, through a stand-in for the launch API: what they start really starts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

import pytest
import rclpy
import stand_in
import yaml
from ament_index_python.packages import get_package_share_directory
from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from molmo_ros.parameters import Parameters

BUNDLE = Path(__file__).parents[2] / "assets" / "molmo-tiny" / "bundle"
SHARE = Path(get_package_share_directory("molmo_ros"))
PATIENCE_S = 60.0  # for a node that loads its model, on a busy machine


@pytest.fixture
def launch(tmp_path_factory, monkeypatch):
    """Executes an installed launch file with arguments; the context that it leaves behind."""
    for name, module in stand_in.modules().items():
        monkeypatch.setitem(sys.modules, name, module)

    def execute(name: str, **arguments: str) -> stand_in.Context:
        context = stand_in.Context(tmp_path_factory.mktemp("launch"), dict(arguments))
        stand_in.load(Path(get_package_share_directory("molmo_ros"), "launch", name)).visit(
            context
        )
        return context

    return execute


@pytest.fixture
def observer() -> Iterator[Node]:
    """A node of our own, in a context of our own."""
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("observer", context=context)
    yield node
    node.destroy_node()
    rclpy.try_shutdown(context=context)


@contextmanager
def running(processes: list[stand_in.Process], log: Path) -> Iterator[list[subprocess.Popen]]:
    """Starts processes as the launch would; ends them with Ctrl-C's signal."""
    started = []
    with log.open("w") as sink:
        for process in processes:
            environment = {**os.environ, **process.environment}
            started.append(
                subprocess.Popen(process.command, env=environment, stdout=sink, stderr=sink)
            )
        try:
            yield started
        finally:
            for process in started:
                process.send_signal(signal.SIGINT)
            statuses = [process.wait(PATIENCE_S) for process in started]
    assert statuses == [0] * len(started), log.read_text()


def parameters(process: stand_in.Process) -> dict:
    """What a process is given by files, later ones winning."""
    merged = {}
    for flag, value in zip(process.command, process.command[1:], strict=False):
        if flag == "--params-file":
            merged.update(yaml.safe_load(Path(value).read_text())["/**"]["ros__parameters"])
    return merged


def wait_until_active(node: Node, name: str) -> None:
    executor = SingleThreadedExecutor(context=node.context)
    client = node.create_client(GetState, f"{name}/get_state")
    deadline = time.monotonic() + PATIENCE_S
    state = None
    while state != State.PRIMARY_STATE_ACTIVE and time.monotonic() < deadline:
        future = client.call_async(GetState.Request())
        executor.add_node(node)
        executor.spin_until_future_complete(future, timeout_sec=0.5)
        executor.remove_node(node)
        state = future.result().current_state.id if future.done() else None
    assert state == State.PRIMARY_STATE_ACTIVE


def test_the_molmo_launch_brings_a_node_up_on_the_named_topics(launch, observer, tmp_path):
    context = launch(
        "molmo.launch.py", namespace="cell", bundle=str(BUNDLE), image="/wrist/image", depth="d"
    )
    with running(context.processes, tmp_path / "node.log"):
        wait_until_active(observer, "/cell/molmo")
        assert observer.count_subscribers("/wrist/image") == 1
        assert observer.count_subscribers("/cell/d") == 1
        assert observer.count_subscribers("/cell/camera_info") == 1


def test_the_demo_launch_runs_to_its_end(launch, tmp_path):
    context = launch("demo.launch.py", output=str(tmp_path / "pictures"))
    with running(context.processes, tmp_path / "demo.log") as started:
        [guest] = [
            popen
            for popen, process in zip(started, context.processes, strict=True)
            if process.ends_launch
        ]
        assert guest.wait(PATIENCE_S) == 0, (tmp_path / "demo.log").read_text()
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 3


def test_an_argument_wins_over_the_parameter_file_only_when_it_is_given(launch, tmp_path):
    file = tmp_path / "robot.yaml"
    file.write_text("/**: {ros__parameters: {bundle: /from/file, slop_s: 0.5}}")
    [by_file] = launch("molmo.launch.py", params_file=str(file)).processes
    [by_argument] = launch(
        "molmo.launch.py", params_file=str(file), bundle="/from/argument", autostart="false"
    ).processes
    assert parameters(by_file) == {
        "bundle": "/from/file",
        "slop_s": 0.5,
        "autostart": True,
        "use_sim_time": False,
    }
    assert parameters(by_argument)["bundle"] == "/from/argument"
    assert parameters(by_argument)["autostart"] is False


def test_the_shipped_parameter_file_holds_the_defaults():
    file = SHARE / "config" / "molmo.yaml"
    defaults = {field.name: field.default for field in fields(Parameters)}
    del defaults["autostart"]  # an argument of the launch file
    defaults["cameras"] = list(defaults["cameras"])  # YAML has no tuples
    assert yaml.safe_load(file.read_text())["/**"]["ros__parameters"] == defaults
