"""What a program gets from MolmoClient, asked of real nodes in processes of their own."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from threading import Event, Thread

import numpy as np
import pytest
import rclpy
from conftest import BUNDLE, ENDLESS
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.executors import MultiThreadedExecutor
from robot import PATIENCE_S, NodeProcess, bare_table

from molmo_ros import client, client_asking
from molmo_ros.client import Asking, Ending, Mode, MolmoClient, MolmoError
from molmo_ros.msg import Answer, Waypoint

FORGOTTEN_S = 40.0  # DDS forgets a killed process after its lease, 20 s in Fast DDS


@pytest.fixture
def molmo(serving):
    """A client with a node of its own, of the node with Molmo-tiny."""
    with MolmoClient(name="/serve/molmo") as molmo:
        yield molmo


@pytest.fixture
def talker(talking):
    """The same, of the node whose answers take seconds."""
    with MolmoClient(name="/talk/molmo") as molmo:
        yield molmo


def meanwhile(robot, call):
    """What a blocking call returns in a thread of its own, while the robot films."""
    with ThreadPoolExecutor(1) as pool:
        called = pool.submit(call)
        robot.until(called.done, "the call to return")
    return called.result()


def refused(robot, call) -> MolmoError:
    """The error of a blocking call, likewise."""
    with pytest.raises(MolmoError) as raised:
        meanwhile(robot, call)
    return raised.value


class Heard:
    """All that streams to a program, in order."""

    def __init__(self) -> None:
        self.text = ""
        self.waypoints: list[tuple[int, Waypoint]] = []  # length of the text so far, waypoint
        self.how = {"on_text": self._add, "on_waypoint": self._note}

    def _add(self, words: str) -> None:
        self.text += words

    def _note(self, waypoint: Waypoint) -> None:
        self.waypoints.append((len(self.text), waypoint))


def test_a_blocking_question_streams_and_returns_the_answer(molmo, host, scene):
    shot, prompt, _ = scene
    host.film(shot)
    heard = Heard()
    answer = meanwhile(host, lambda: molmo.ask(prompt, request_id="7", **heard.how))
    assert (answer.status, answer.request_id) == (Answer.OK, "7")
    assert answer.header in host.filmed
    assert heard.text == answer.text
    ((said, waypoint),) = heard.waypoints
    assert said < len(answer.text)
    assert (waypoint.u, waypoint.v) == (answer.waypoints[0].u, answer.waypoints[0].v)


def test_pointing_returns_waypoints(molmo, host, scene):
    shot, prompt, (u, v) = scene
    host.film(shot)
    (waypoint,) = meanwhile(host, lambda: molmo.point(prompt))
    assert waypoint.status == Waypoint.OK
    assert np.hypot(waypoint.u - u, waypoint.v - v) < 0.05 * waypoint.image_width


def test_pointing_returns_no_waypoint_without_a_pose(molmo, host, scene):
    shot, prompt, _ = scene
    host.film(shot, with_depth=False)
    heard = Heard()
    assert meanwhile(host, lambda: molmo.point(prompt, **heard.how)) == []
    assert [waypoint.status for _, waypoint in heard.waypoints] == [Waypoint.NO_DEPTH]


def test_things_are_pointed_to_counted_and_described_by_their_names(molmo, host, scene):
    answers = host.listen(Answer, "molmo/answer")
    host.film(scene[0])
    (waypoint,) = meanwhile(host, lambda: molmo.point("the green sphere"))
    assert waypoint.label == "green sphere"
    assert meanwhile(host, lambda: molmo.count("green spheres")) == 1
    assert meanwhile(host, molmo.describe).startswith("There are 5 objects")
    host.until(lambda: len(answers) == 3, "all answers")
    assert [answer.mode for answer in answers] == [Mode.POINT, Mode.COUNT, Mode.DESCRIBE]


def test_a_count_without_a_number_is_an_error(molmo, host, scene):
    host.film(scene[0])
    error = refused(host, lambda: molmo.count("Describe the table."))
    assert "answered without a number" in str(error)
    assert error.answer.text in str(error)


def test_a_failed_question_raises_with_status_and_what_was_said(talker, guest):
    guest.film(bare_table())
    error = refused(guest, lambda: talker.ask("Go on.", timeout_s=0.5))
    assert error.status == Ending.TIMEOUT
    assert error.answer.text
    assert str(error).startswith("'Go on.': TIMEOUT: no complete answer within 0.5 s")


class Slow(dict):
    """Where rclpy looks, and then notes a request, after it has sent it."""

    def __contains__(self, key: object) -> bool:
        time.sleep(0.1)
        return super().__contains__(key)


def test_a_reply_that_is_faster_than_the_note_of_its_request_is_not_lost(molmo, monkeypatch):
    monkeypatch.setattr(client_asking, "REPLY_S", 1.0)
    monkeypatch.setattr(molmo._line, "_pending_goal_requests", Slow())
    with pytest.raises(MolmoError, match="rejected by the node"):
        molmo.ask("Where?", camera="none")


@pytest.mark.parametrize("timeout_s", [-1.0, float("nan"), float("inf")])
def test_a_senseless_timeout_is_refused_on_the_spot(molmo, timeout_s):
    with pytest.raises(ValueError, match="timeout_s is"):
        molmo.ask("Where?", timeout_s=timeout_s)


def test_a_node_of_the_callers_is_spun_by_the_caller(host, scene):
    shot, prompt, _ = scene
    host.film(shot)
    with MolmoClient(host.node) as molmo:
        asking = molmo.ask_async(prompt)
        host.until(asking.done, "the answer")
        assert asking.result().status == Answer.OK
        assert meanwhile(host, lambda: molmo.ask(prompt)).text == asking.result().text
    assert host.ask(prompt).status == Answer.OK  # the node outlives its client


def test_a_blocking_call_in_a_callback_is_refused(host):
    errors = []
    with MolmoClient(host.node) as molmo:

        def block() -> None:
            timer.cancel()
            for call in (lambda: molmo.ask("Where?"), molmo.ask_async("Where?").result):
                with pytest.raises(MolmoError, match="inside a callback") as raised:
                    call()
                errors.append(raised.value)

        timer = host.node.create_timer(0.0, block)
        host.until(lambda: len(errors) == 2, "both refusals")
        host.node.destroy_timer(timer)


def test_a_blocking_call_in_a_streaming_callback_is_refused(talker, guest):
    guest.film(bare_table())
    error = refused(guest, lambda: talker.ask("Go on.", on_text=lambda _: talker.ask("And?")))
    assert "inside a callback" in str(error)


def test_a_callback_of_an_executor_with_free_threads_may_block(serving, host, scene):
    shot, prompt, _ = scene
    node = rclpy.create_node("caller", namespace="/serve")
    molmo = MolmoClient(node)
    answers = []

    def block() -> None:
        timer.cancel()
        answers.append(molmo.ask(prompt))

    timer = node.create_timer(0.0, block, MutuallyExclusiveCallbackGroup())
    executor = MultiThreadedExecutor(2)
    executor.add_node(node)
    host.film(shot)
    over = Event()
    thread = Thread(target=lambda: [executor.spin_once(0.1) for _ in iter(over.is_set, True)])
    thread.start()
    try:
        host.until(lambda: answers, "the answer")
        assert answers[0].status == Answer.OK
    finally:
        over.set()
        thread.join()
        molmo.close()
        executor.shutdown()
        node.destroy_node()


def test_a_question_is_cancelled_before_it_is_accepted(guest):
    guest.film(bare_table())
    with MolmoClient(guest.node) as molmo:
        guest.until(molmo.ask_async("Go on.", timeout_s=0.1).done, "the line to be there")
        asking = molmo.ask_async("Go on.")
        assert asking.cancel()  # nobody spins: the goal is sent, and its reply not yet taken
        guest.until(asking.done, "the end")
    assert asking.exception().status == Ending.CANCELED
    assert not asking.cancel()


def test_a_question_is_cancelled_before_there_is_a_node(ros):
    with MolmoClient(name="nobody") as molmo:
        asking = molmo.ask_async("Where?")
        assert asking.cancel()
        with pytest.raises(MolmoError, match="cancelled before it was asked") as raised:
            asking.result(PATIENCE_S)
    assert raised.value.status == Ending.CANCELED


def test_another_thread_cancels_while_the_model_speaks(talker, guest):
    guest.film(bare_table())
    heard = Heard()
    asking = talker.ask_async("Go on.", **heard.how)
    guest.until(lambda: heard.text, "the first words")
    with pytest.raises(FutureTimeoutError):
        asking.result(0.05)  # the question goes on
    assert asking.cancel()
    error = refused(guest, asking.result)
    assert error.status == Ending.CANCELED
    assert error.answer.text.startswith(heard.text)


def test_what_a_callback_raises_comes_out_and_ends_the_question(talker, guest):
    answers = guest.listen(Answer, "molmo/answer")
    guest.film(bare_table())
    asking = talker.ask_async("Go on.", on_text=[].index)
    guest.until(asking.done, "the end")
    with pytest.raises(ValueError, match="not in list"):
        asking.result()
    guest.until(lambda: answers, "the node to stop")
    assert answers[0].status == Answer.CANCELED


def test_closing_cancels_what_is_open(talking, guest):
    answers = guest.listen(Answer, "molmo/answer")
    guest.film(bare_table())
    heard = Heard()
    with MolmoClient(name="/talk/molmo") as molmo:
        asking = molmo.ask_async("Go on.", **heard.how)
        guest.until(lambda: heard.text, "the first words")
    assert asking.exception().status == Ending.CANCELED
    guest.until(lambda: answers, "the node to stop")


def test_no_question_outlives_its_client(host, monkeypatch):
    monkeypatch.setattr(client, "GOODBYE_S", 0.1)
    with MolmoClient(host.node) as molmo:
        host.until(molmo.ask_async("Where?", camera="none").done, "the line to be there")
        asking = molmo.ask_async("Where?")
    with pytest.raises(MolmoError, match="the client was closed"):  # nobody has spun meanwhile
        asking.result()


def test_a_callback_cannot_close_the_client_that_calls_it(talker, guest):
    guest.film(bare_table())
    error = refused(guest, lambda: talker.ask("Go on.", on_text=lambda _: talker.close()))
    assert "inside a callback" in str(error)


def test_a_closed_client_says_so(ros):
    with MolmoClient() as molmo:
        molmo.close()
    with pytest.raises(MolmoError, match="this client is closed"):
        molmo.ask("Where?")


@pytest.mark.parametrize(
    "ending",
    [
        "molmo = MolmoClient(); molmo.ask_async('Where?')",
        "rclpy.init(); molmo = MolmoClient(); rclpy.shutdown(); molmo.close()",
        "rclpy.init(); node = rclpy.create_node('own'); molmo = MolmoClient(node); "
        "node.destroy_node(); rclpy.shutdown(); molmo.close()",
    ],
    ids=["forgotten", "outlived", "without its node"],
)
def test_a_program_ends_however_it_leaves_its_client(ros, ending):
    code = f"import rclpy; from molmo_ros.client import MolmoClient; {ending}"
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_nothing_is_kept_of_a_rejected_question(molmo):
    def reject() -> weakref.ref[Asking]:
        asking = molmo.ask_async("Where?", camera="none")
        if "rejected by the node" not in str(asking.exception(PATIENCE_S)):  # assert keeps parts
            raise AssertionError(asking)
        return weakref.ref(asking)

    kept = reject()
    deadline = time.monotonic() + PATIENCE_S
    while kept() is not None:  # the thread that spins may still be about to leave it
        gc.collect()
        time.sleep(0.01)
        assert time.monotonic() < deadline


def test_two_clients_at_once_get_each_their_own(molmo, host, scene):
    shot, prompt, _ = scene
    host.film(shot)
    first, second = Heard(), Heard()
    with MolmoClient(name="/serve/molmo") as other:
        pointing = molmo.ask_async(prompt, **first.how)
        telling = other.ask_async("Describe the table.", **second.how)
        host.until(lambda: pointing.done() and telling.done(), "both answers")
    assert (first.text, len(first.waypoints)) == (pointing.result().text, 1)
    assert (second.text, len(second.waypoints)) == (telling.result().text, 0)


def test_an_answer_can_be_awaited_in_asyncio(molmo, talker, host, guest, scene):
    shot, prompt, _ = scene

    async def ask() -> Answer:
        return await molmo.ask_async(prompt)

    async def give_up() -> None:
        await asyncio.wait_for(talker.ask_async("Go on.", **heard.how), 0.5)

    host.film(shot)
    assert meanwhile(host, lambda: asyncio.run(ask())).status == Answer.OK
    answers = guest.listen(Answer, "molmo/answer")
    guest.film(bare_table())
    heard = Heard()
    with pytest.raises(asyncio.TimeoutError):
        meanwhile(guest, lambda: asyncio.run(give_up()))
    guest.until(lambda: answers, "the node to stop")
    assert answers[0].status == Answer.CANCELED


def test_an_answer_can_be_awaited_in_a_coroutine_of_the_executor(host, scene):
    shot, prompt, _ = scene
    host.film(shot)
    with MolmoClient(host.node) as molmo:

        async def ask() -> Answer:
            return await molmo.ask_async(prompt)

        task = host.node.executor.create_task(ask)
        host.until(task.done, "the coroutine")
    assert task.result().status == Answer.OK


def test_a_node_that_is_not_there_is_an_error_in_time(ros, monkeypatch):
    monkeypatch.setattr(client_asking, "FIND_S", 0.5)
    with MolmoClient(name="nobody") as molmo:
        with pytest.raises(MolmoError, match="there is no node at /nobody/ask") as raised:
            molmo.ask("Where?")
        assert raised.value.status is None
        with pytest.raises(MolmoError, match="there is no node /nobody:"):
            molmo.wait_until_ready(0.5)


def test_a_node_that_nobody_spins_is_an_error_in_time(host, monkeypatch):
    monkeypatch.setattr(client_asking, "REPLY_S", 0.5)
    with MolmoClient(host.node) as molmo:
        host.until(molmo.ask_async("", timeout_s=0.1).done, "the line to be there")
        with pytest.raises(MolmoError, match="does nobody spin ours"):
            molmo.ask("Where?")


def test_a_client_brings_its_node_up(robot, logs):
    with NodeProcess(logs / "up.log", bundle=BUNDLE), MolmoClient() as molmo:
        robot.until(lambda: robot.state() == "unconfigured", "the node")
        with pytest.raises(MolmoError, match="/molmo is unconfigured, wanted active"):
            molmo.wait_until_ready(0.5)
        assert "rejected by the node: it is not active" in str(
            refused(robot, lambda: molmo.ask("Where?"))
        )
        for _ in range(2):  # the second time it is up already
            molmo.bring_up()
            molmo.wait_until_ready()
        assert robot.state() == "active"


def test_a_node_that_cannot_come_up_is_an_error(ros, logs, tmp_path):
    with (
        NodeProcess(logs / "down.log", bundle=tmp_path),
        MolmoClient() as molmo,
        pytest.raises(MolmoError, match="cannot be configured: its log says why"),
    ):
        molmo.bring_up()


def test_a_node_that_is_shut_down_meanwhile_ends_the_question(robot, logs, endless_bundle):
    with dying(logs, endless_bundle) as process, MolmoClient() as molmo:
        asking = under_way(robot, molmo)
        process.process.send_signal(signal.SIGTERM)
        error = refused(robot, asking.result)
    assert error.status == Ending.CANCELED
    assert error.answer.text


def test_a_node_that_is_killed_ends_the_question(robot, logs, endless_bundle):
    with MolmoClient() as molmo, dying(logs, endless_bundle) as process:
        asking = under_way(robot, molmo)
        process.process.kill()
        with pytest.raises(MolmoError, match="the node has gone"):
            asking.result(FORGOTTEN_S)


def test_a_node_that_comes_back_does_not_know_the_question(robot, logs, endless_bundle):
    with MolmoClient() as molmo:
        with dying(logs, endless_bundle) as process:
            asking = under_way(robot, molmo)
            process.process.kill()
        with dying(logs, endless_bundle):
            with pytest.raises(MolmoError, match="the node was restarted"):
                asking.result(FORGOTTEN_S)
            robot.wait_until_active()
            robot.film(bare_table())
            error = refused(robot, lambda: molmo.ask("Go on.", timeout_s=0.5))
            assert error.status == Ending.TIMEOUT


def dying(logs, bundle) -> NodeProcess:
    return NodeProcess(logs / "dying.log", bundle=bundle, autostart=True, **ENDLESS)


def under_way(robot, molmo) -> Asking:
    """A question whose first words have come."""
    robot.wait_until_active()
    robot.film(bare_table())
    heard = Heard()
    asking = molmo.ask_async("Go on.", timeout_s=3600.0, **heard.how)
    robot.until(lambda: heard.text, "the first words")
    return asking


CTRL_C = """
from molmo_ros.client import MolmoClient
with MolmoClient(name="/talk/molmo") as molmo:
    molmo.ask("Go on.", on_text=lambda words: print(words, flush=True))
"""


def test_ctrl_c_cancels_the_question(guest):
    answers = guest.listen(Answer, "molmo/answer")
    guest.film(bare_table())
    program = subprocess.Popen(
        [sys.executable, "-c", CTRL_C], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    os.set_blocking(program.stdout.fileno(), False)
    guest.until(program.stdout.readline, "the first words")
    program.send_signal(signal.SIGINT)
    guest.until(lambda: answers, "the node to stop")
    assert answers[0].status == Answer.CANCELED
    assert program.wait(PATIENCE_S) != 0
    assert program.stderr.read().rstrip().endswith("KeyboardInterrupt")
