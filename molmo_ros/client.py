"""The Molmo node as an object: for programs that pick, place and look.

    with MolmoClient() as molmo:
        for mug in molmo.point("the mug handle"):
            arm.move_to(approach(mug, 0.10))

A result is a complete answer; everything else raises MolmoError. Knows no model and no camera: the
node may run on another machine.
"""

from __future__ import annotations

import atexit
import math
from collections.abc import Callable
from concurrent.futures import wait as wait_for
from threading import Lock
from typing import TYPE_CHECKING, TypedDict, TypeVar

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from molmo_ros.action import Ask
from molmo_ros.client_asking import GLANCE_S, Asking
from molmo_ros.client_lifecycle import Lifecycle
from molmo_ros.client_line import Line
from molmo_ros.client_node import OwnNode
from molmo_ros.client_waiting import MolmoError, refuse_in_callback
from molmo_ros.ending import Ending
from molmo_ros.grasp import approach, sigma_m
from molmo_ros.modes import Mode
from molmo_ros.msg import Answer, Waypoint

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Asking", "Ending", "Mode", "MolmoClient", "MolmoError", "approach", "sigma_m"]

LATE_S = 10.0  # the deadline is the node's own; one that misses it by this much is stuck
GOODBYE_S = 2.0  # for the node to end what close() cancels

T = TypeVar("T")


class How(TypedDict, total=False):
    """What every question may say beside its words."""

    camera: str  # empty: the only camera, or the first of several
    timeout_s: float  # 0: the node's default_timeout_s
    request_id: str  # comes back in the answer, on ~/answer too; empty: the node makes one up
    on_text: Callable[[str], None]  # gets new words as they are decoded
    on_waypoint: Callable[[Waypoint], None]  # gets each waypoint, usable or not, when it is named


class MolmoClient:
    """Asks one Molmo node. All methods may be called from any thread.

    The blocking ones may not be called in a callback of the thread that spins the node, which has
    to bring them the reply: they raise MolmoError there. Their _async twins never block; they
    return an Asking, to wait for, to await or to cancel. A blocking call that is interrupted, as
    by Ctrl-C, cancels its question.
    """

    def __init__(
        self, node: Node | None = None, name: str = "molmo", *, patience_s: float = 60.0
    ) -> None:
        """node: the caller's, who spins it; without one the client has its own, until close().

        name:       of the Molmo node, in the namespace of `node` or absolute: "/demo/molmo"
        patience_s: longest wait for the answer to a question without timeout_s; longer than the
            node's default_timeout_s
        """
        self._own = OwnNode() if node is None else None
        self.node: Node = node or self._own.node
        self.name = self.node.resolve_service_name(name)
        self._patience_s = patience_s
        group = ReentrantCallbackGroup()
        self._line = Line(self.node, self.name, group)
        self._lifecycle = Lifecycle(self.node, self.name, group)
        self._lock = Lock()
        self._open: set[Asking] = set()
        self._is_closed = False
        # Steady time: with use_sim_time the node's own clock may stand still.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = self.node.create_timer(GLANCE_S, self._watch, group, steady)
        self._timer.cancel()  # it runs while questions are open
        if self._own is not None:
            atexit.register(self.close)

    def ask(self, prompt: str, *, mode: Mode = Mode.ANSWER, **how: Unpack[How]) -> Answer:
        """The answer to a question about the newest frame: complete, with or without points."""
        refuse_in_callback(self.node)
        return _wait(self.ask_async(prompt, mode=mode, **how))

    def point(self, what: str, **how: Unpack[How]) -> list[Waypoint]:
        """Where the named things are, as "the mug handle": waypoints whose pose is valid.

        Empty when there are none, and when none has a pose: ask() with Mode.POINT tells these
        apart.
        """
        refuse_in_callback(self.node)
        return _wait(self.point_async(what, **how))

    def count(self, what: str, **how: Unpack[How]) -> int:
        """How many of the named things there are, as "mugs"."""
        refuse_in_callback(self.node)
        return _wait(self.count_async(what, **how))

    def describe(self, what: str = "", **how: Unpack[How]) -> str:
        """What the camera shows, or what the named thing looks like, in words."""
        refuse_in_callback(self.node)
        return _wait(self.describe_async(what, **how))

    def ask_async(
        self, prompt: str, *, mode: Mode = Mode.ANSWER, **how: Unpack[How]
    ) -> Asking[Answer]:
        """ask() that does not wait."""
        return self._ask(prompt, mode, lambda answer: answer, **how)

    def point_async(self, what: str, **how: Unpack[How]) -> Asking[list[Waypoint]]:
        """point() that does not wait."""
        return self._ask(what, Mode.POINT, _usable, **how)

    def count_async(self, what: str, **how: Unpack[How]) -> Asking[int]:
        """count() that does not wait."""
        return self._ask(what, Mode.COUNT, _number, **how)

    def describe_async(self, what: str = "", **how: Unpack[How]) -> Asking[str]:
        """describe() that does not wait."""
        return self._ask(what, Mode.DESCRIBE, lambda answer: answer.text, **how)

    def wait_until_ready(self, timeout_s: float = 10.0) -> None:
        """Returns when the node takes questions; raises MolmoError with its state if it does not.

        Asking does not need it: a question itself waits a little for the node to be there.
        """
        self._lifecycle.wait_until_active(timeout_s)

    def bring_up(self, timeout_s: float = 60.0) -> None:
        """Configures and activates the node, where no lifecycle manager does."""
        self._lifecycle.bring_up(timeout_s)

    def close(self) -> None:
        """Cancels what is still open, and ends the client; a node of the caller's lives on."""
        if self._own is not None:  # its thread cannot wait for its own end
            refuse_in_callback(self.node)
            atexit.unregister(self.close)
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            left = set(self._open)
        for asking in left:
            asking.cancel()
        for asking in wait_for(left, GOODBYE_S).not_done:
            asking.abandon()
        self.node.destroy_timer(self._timer)
        self._lifecycle.close()
        self._line.close()
        if self._own is not None:
            self._own.close()

    def __enter__(self) -> MolmoClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(
        self,
        prompt: str,
        mode: Mode,
        read: Callable[[Answer], T],
        *,
        camera: str = "",
        timeout_s: float = 0.0,
        request_id: str = "",
        on_text: Callable[[str], None] | None = None,
        on_waypoint: Callable[[Waypoint], None] | None = None,
    ) -> Asking[T]:
        if not (math.isfinite(timeout_s) and timeout_s >= 0):
            raise ValueError(
                f"timeout_s is {timeout_s}, wanted 0 (the node's own) or more seconds"
            )
        request = Ask.Goal(
            prompt=prompt,
            mode=int(mode),
            camera=camera,
            timeout_s=timeout_s,
            request_id=request_id,
        )
        asking = Asking(
            self._line,
            request,
            read,
            patience_s=timeout_s + LATE_S if timeout_s else self._patience_s,
            on_text=on_text,
            on_waypoint=on_waypoint,
        )
        self._follow(asking)
        return asking

    def _follow(self, asking: Asking[T]) -> None:
        """Watches a question until it ends."""
        with self._lock:
            if self._is_closed:
                raise MolmoError("this client is closed")
            self._open.add(asking)
            self._timer.reset()
        asking.add_done_callback(self._forget)
        asking.watch()
        if self.node.executor is not None:
            self.node.executor.wake()  # it may wait without the timer, which stood still

    def _forget(self, asking: Asking[T]) -> None:
        with self._lock:
            self._open.discard(asking)
            if not self._open:
                self._timer.cancel()

    def _watch(self) -> None:
        with self._lock:
            askings = tuple(self._open)
        for asking in askings:
            asking.watch()


def _wait(asking: Asking[T]) -> T:
    """The result of a question, which ends when the wait for it does."""
    try:
        return asking.result()
    finally:
        asking.cancel()


def _usable(answer: Answer) -> list[Waypoint]:
    return [waypoint for waypoint in answer.waypoints if waypoint.status == Waypoint.OK]


def _number(answer: Answer) -> int:
    if answer.count < 0:
        raise MolmoError(
            f"answered without a number: {answer.text!r}", Ending(answer.status), answer
        )
    return answer.count
