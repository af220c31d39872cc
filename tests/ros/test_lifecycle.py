"""How the node starts, changes its state and ends, in a process of its own."""

from __future__ import annotations

import json
import shutil
import signal

import pytest
from action_msgs.msg import GoalStatus
from conftest import BUNDLE, ENDLESS
from robot import PATIENCE_S, NodeProcess, bare_table

from molmo_ros.msg import Answer


def test_a_whole_life(robot, logs, endless_bundle):
    with NodeProcess(logs / "life.log", bundle=endless_bundle, **ENDLESS) as process:
        assert robot.state() == "unconfigured"
        assert robot.transition("configure")
        assert not robot.send("Where?").accepted
        assert "goal rejected: the node is not active" in process.log
        assert robot.transition("activate")
        robot.film(bare_table())
        goal = robot.send("Go on.")
        robot.until(lambda: goal.feedback, "the first words")
        assert robot.transition("deactivate")  # while the model speaks
        answer = goal.answer()
        assert (goal.status, answer.status) == (GoalStatus.STATUS_ABORTED, Answer.CANCELED)
        assert answer.text
        assert robot.transition("activate")
        assert robot.ask("Go on.", timeout_s=0.2).status == Answer.TIMEOUT
        assert robot.transition("deactivate")
        assert robot.transition("cleanup")
        assert robot.transition("configure")
        assert process.stop() == 0, process.log


def test_a_lifecycle_manager_starts_pauses_resets_and_shuts_it_down(robot, logs):
    """In the order in which nav2's manager does it, with a look at the state after each step."""
    with NodeProcess(logs / "managed.log", bundle=BUNDLE) as process:
        startup = (("configure", "inactive"), ("activate", "active"))
        pause = (("deactivate", "inactive"), ("activate", "active"))
        reset = (("deactivate", "inactive"), ("cleanup", "unconfigured"))
        for step, state in (*startup, *pause, *reset, *startup, *reset, ("shutdown", "finalized")):
            assert robot.transition(step)
            assert robot.state() == state
        assert not robot.transition("configure")  # nothing leads out of finalized
        assert process.stop() == 0, process.log


def test_transitions_out_of_order_are_refused_and_survived(robot, logs):
    with NodeProcess(logs / "order.log", bundle=BUNDLE) as process:
        for name in ("activate", "deactivate", "cleanup"):
            assert not robot.transition(name)
        assert robot.state() == "unconfigured"
        assert "transition '3' is not possible in state 'unconfigured'" in process.log
        assert robot.transition("configure")
        assert not robot.transition("configure")
        assert robot.state() == "inactive"


def test_services_answer_and_signals_work_while_configure_loads(robot, logs, endless_bundle):
    with NodeProcess(logs / "loading.log", bundle=endless_bundle) as process:
        robot.start_transition("configure")
        robot.until(lambda: robot.state() == "configuring", "a look at the node while it loads")
        assert not robot.transition("activate")
        assert process.stop() == 0, process.log
        assert "Traceback" not in process.log


def test_without_a_usable_bundle_configure_fails_with_a_sentence(robot, logs, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(BUNDLE, damaged)
    with (damaged / "embedding.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\xff")
    with NodeProcess(logs / "bundle.log") as process:
        for bundle, word in (
            ("", "the parameter 'bundle' is empty"),
            (str(tmp_path / "nowhere"), "nowhere"),
            (str(damaged), "embedding.safetensors"),
        ):
            robot.set_parameter("bundle", bundle)
            assert not robot.transition("configure")
            assert robot.state() == "unconfigured"
            said = [line for line in process.log.splitlines() if "cannot configure" in line]
            assert word in said[-1]
        robot.set_parameter("bundle", str(BUNDLE))
        assert robot.transition("configure")


def test_parameters_that_are_wrong_are_named_and_nothing_starts(logs, ros, tmp_path):
    params = tmp_path / "params.yaml"
    wrong = {"max_frame_agee_s": 2.0, "slop_s": -1.0, "max_new_tokens": "many"}
    params.write_text(json.dumps({"/**": {"ros__parameters": {"bundle": "b", **wrong}}}))
    with NodeProcess(logs / "wrong.log", "--params-file", str(params)) as process:
        assert process.process.wait(PATIENCE_S) == 1
    assert "unknown parameter 'max_frame_agee_s'" in process.log
    assert "slop_s: got -1.0, wanted 0.0 to 1.0" in process.log
    assert "max_new_tokens: got 'many', wanted a whole number" in process.log


def test_parameters_set_later_are_checked_too(serving, host):
    assert host.set_parameter("slop_s", 0.05)
    assert not host.set_parameter("slop_s", 7.0)
    assert not host.set_parameter("image_transport", "theora")
    assert not host.set_parameter("autostart", False)


def test_a_renamed_and_remapped_node_listens_where_it_was_told_to(robot, logs, endless_bundle):
    renamed = "-r", "__node:=vlm", "-r", "__ns:=/cell", "-r", "image:=color/image_raw"
    parameters = {"bundle": endless_bundle, "autostart": True, "image_transport": "compressed"}
    with NodeProcess(logs / "renamed.log", *renamed, **parameters):
        for topic in ("/cell/color/image_raw/compressed", "/cell/depth", "/cell/camera_info"):
            robot.until(  # the graph may know the subscription before the name of its node
                lambda topic=topic: [
                    listener
                    for listener in robot.node.get_subscriptions_info_by_topic(topic)
                    if (listener.node_namespace, listener.node_name) == ("/cell", "vlm_inputs")
                ],
                f"/cell/vlm_inputs listening on {topic}",
            )


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_an_answering_node_cleanly(robot, logs, endless_bundle, sent):
    parameters = {"bundle": endless_bundle, "autostart": True, **ENDLESS}
    with NodeProcess(logs / f"{sent.name}.log", **parameters) as process:
        robot.wait_until_active()
        robot.film(bare_table())
        goal = robot.send("Go on.")
        robot.until(lambda: goal.feedback, "the first words")
        process.process.send_signal(sent)
        assert goal.answer().status == Answer.CANCELED
        assert process.process.wait(PATIENCE_S) == 0
        assert "Traceback" not in process.log
