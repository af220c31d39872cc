"""A question under way, from the client's side: sent when the node is there, ended in any case.

The node may be absent, refuse, be slow, be restarted or die: each ends the question with an error
within a bounded time. Knows goals and answers; nothing of what is asked.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Generator
from concurrent.futures import Future, InvalidStateError
from concurrent.futures import TimeoutError as FutureTimeoutError
from concurrent.futures import wait as wait_for
from contextlib import suppress
from threading import Lock
from time import monotonic
from typing import Any, TypeVar

import rclpy.task
from action_msgs.msg import GoalStatus
from rclpy.action.client import ClientGoalHandle

from molmo_ros.action import Ask
from molmo_ros.client_line import Line
from molmo_ros.client_told import Told
from molmo_ros.client_waiting import MolmoError, refuse_in_callback
from molmo_ros.ending import Ending
from molmo_ros.msg import Answer, Waypoint

GLANCE_S = 0.2  # between two looks whether the node is still there
FIND_S = 10.0  # DDS discovery takes a tenth of it; a restart of the node takes longer
REPLY_S = 10.0  # a goal is accepted or rejected in milliseconds
CANCEL_S = 10.0  # a cancelled question ends between two tokens

T = TypeVar("T")


class Asking(Future[T]):
    """A question under way: a concurrent.futures.Future that can also be awaited.

    result() is what was asked for, or raises MolmoError; done callbacks run in the thread that
    spins. `await` works in asyncio and in coroutines that the node's executor runs.
    """

    def __init__(
        self,
        line: Line,
        request: Ask.Goal,
        read: Callable[[Answer], T],
        *,
        patience_s: float,
        on_text: Callable[[str], None] | None = None,
        on_waypoint: Callable[[Waypoint], None] | None = None,
    ) -> None:
        """read: what is wanted of a complete answer; patience_s: from acceptance to the answer.

        on_text, on_waypoint: get new words and each waypoint once, in the thread that spins; what
            they raise ends the question
        """
        super().__init__()
        self.set_running_or_notify_cancel()
        self._line = line
        self._request = request
        self._read = read
        self._patience_s = patience_s
        self._feedback = Told(on_text, on_waypoint)
        self._lock = Lock()  # guards the four that follow
        self._is_sent = False
        self._is_withdrawn = False
        self._goal: ClientGoalHandle | None = None
        self._servers: frozenset[bytes] = frozenset()
        self._expect(FIND_S, f"there is no node at {line.address}: start it, or name it right")

    def result(self, timeout: float | None = None) -> T:
        """Waits for the result; late, it raises concurrent.futures.TimeoutError and goes on.

        Raises MolmoError in a callback of the thread that spins: await it there.
        """
        self._wait(timeout)
        return super().result()

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Waits like result(), and returns what that would raise."""
        self._wait(timeout)
        return super().exception()

    def cancel(self) -> bool:
        """Asks the node to stop; the result is then a MolmoError with the status CANCELED.

        Works from any thread and at any time; false when the question has already ended.
        """
        if self.done():
            return False
        self._withdraw()
        if not self._is_sent:
            self._fail(MolmoError("cancelled before it was asked", Ending.CANCELED))
        self._expect(CANCEL_S, "cancelled, and the node has not ended it")
        return True

    def abandon(self) -> None:
        """Ends the question on this side, whatever the node does."""
        self._fail(MolmoError("the client was closed before the answer came"))

    def __await__(self) -> Generator[Any, None, T]:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self._await_in_executor()
        return asyncio.wrap_future(self).__await__()

    def watch(self) -> None:
        """Sends the question once the node is there; ends it when nothing more can come.

        To be called every now and then, from any thread.
        """
        if self.done():
            return
        if problem := self._problem():
            self._fail(MolmoError(problem))
            self._withdraw()
        elif not self._is_sent and self._line.server_is_ready():
            self._send()

    def _problem(self) -> str:
        """Why nothing more can come; empty while something can."""
        if not self._line.node.context.ok():
            return "rclpy was shut down before the answer came"
        if self._servers:
            left = self._line.servers()
            if not left:
                return "the node has gone before it had answered"
            if not left <= self._servers:
                return "the node was restarted before it had answered, or another has its name"
        return self._otherwise if monotonic() > self._until_s else ""

    def _expect(self, within_s: float, otherwise: str) -> None:
        """Sets how long the next step may take, and what is wrong when it takes longer."""
        self._until_s = monotonic() + within_s
        self._otherwise = f"{otherwise} (waited {within_s:g} s)"

    def _send(self) -> None:
        with self._lock:
            if self._is_sent or self._is_withdrawn:
                return
            self._is_sent = True
            replied = self._line.send(self._request, self._on_feedback)
        self._expect(REPLY_S, "no reply to the goal: is the node stuck, or does nobody spin ours?")
        replied.add_done_callback(self._on_reply)

    def _on_reply(self, replied: rclpy.task.Future) -> None:
        goal = replied.result()
        if not goal.accepted:
            why = "it is not active (bring_up() helps), or has no such camera; its log says which"
            self._fail(MolmoError(f"rejected by the node: {why}"))
            return
        with self._lock:
            self._goal = goal
            self._servers = self._line.servers()
            is_withdrawn = self._is_withdrawn
        self._line.fetch_result(goal).add_done_callback(self._on_result)
        if is_withdrawn:
            self._line.cancel(goal)
        else:
            self._expect(self._patience_s, "no answer, not even a late one: the node is stuck")

    def _on_feedback(self, message: Any) -> None:
        self._tell(message.feedback)

    def _on_result(self, fetched: rclpy.task.Future) -> None:
        status, answer = fetched.result().status, fetched.result().result.answer
        if status == GoalStatus.STATUS_SUCCEEDED:
            self._tell(answer)  # the result may have overtaken the last feedback
            self._conclude(answer)
        elif answer.status not in (Answer.OK, Answer.NO_POINT):
            ending = Ending(answer.status)
            self._fail(MolmoError(f"{ending.name}: {answer.message}", ending, answer))
        else:  # the empty answer of a server that failed, or does not know the goal
            self._fail(MolmoError("the node has lost the question: see its log"))

    def _tell(self, news: Ask.Feedback | Answer) -> None:
        """Passes on what is new; a caller that cannot bear it ends the question."""
        if self.done():
            return
        try:
            self._feedback.tell(news.text, news.waypoints)
        except Exception as error:  # it is the caller's, and comes out where the caller waits
            self._fail(error)
            self._withdraw()

    def _conclude(self, answer: Answer) -> None:
        try:
            value = self._read(answer)
        except MolmoError as error:
            self._fail(error)
            return
        with suppress(InvalidStateError):
            self.set_result(value)

    def _fail(self, error: Exception) -> None:
        if isinstance(error, MolmoError):
            error.args = (f"{self._request.prompt!r}: {error}",)
        with suppress(InvalidStateError):  # whatever comes first ends it
            self.set_exception(error)

    def _withdraw(self) -> None:
        """Sees to it that the node does not go on with the question."""
        with self._lock:
            self._is_withdrawn = True
            goal = self._goal
        if goal is not None:
            self._line.cancel(goal)

    def _wait(self, timeout: float | None) -> None:
        if self.done():
            return
        refuse_in_callback(self._line.node)
        until_s = math.inf if timeout is None else monotonic() + timeout
        while not self.done():
            if monotonic() > until_s:
                raise FutureTimeoutError(f"no answer within {timeout:g} s")
            wait_for([self], min(GLANCE_S, until_s - monotonic()))
            self.watch()  # nobody else does, where nobody spins the node

    def _await_in_executor(self) -> Generator[Any, None, T]:
        ended = rclpy.task.Future()
        executor = self._line.node.executor

        def end(_: Future[T]) -> None:
            ended.set_result(None)
            if executor is not None:
                executor.wake()  # the end may come from a thread of the program

        self.add_done_callback(end)
        yield from ended.__await__()
        return super().result()
