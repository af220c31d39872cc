"""Asks the node questions as any robot program would: through its action, streaming.

Also hears the node's annotated picture. Knows nothing of the scene and prints nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import rclpy
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.action import ActionClient
from rclpy.node import Node
from rclpy.task import Future
from sensor_msgs.msg import Image

from molmo_ros.action import Ask
from molmo_ros.msg import Answer

GLANCE_S = 0.1  # between two looks whether the node's process still runs
PICTURE_S = 5.0  # an annotated picture comes with its answer; later it will not come


class ClientError(RuntimeError):
    """A node that does not do what was asked of it."""


@dataclass(frozen=True)
class Reply:
    """An answer with the node's own picture of it, where it made one."""

    answer: Answer
    picture: Image | None


class Client:
    """One client of one node; `molmo` in the node's namespace."""

    def __init__(self, node: Node, check: Callable[[], None] = lambda: None) -> None:
        """check: called while waiting; raises to give up."""
        self._node = node
        self._check = check
        self._change = node.create_client(ChangeState, "molmo/change_state")
        self._action = ActionClient(node, Ask, "molmo/ask")
        self._pictures: list[Image] = []
        node.create_subscription(Image, "molmo/annotated", self._pictures.append, 1)

    def bring_up(self, patience_s: float) -> None:
        """Configures and activates the node, as a lifecycle manager would."""
        deadline = time.monotonic() + patience_s
        while not (self._change.service_is_ready() and self._action.server_is_ready()):
            if time.monotonic() > deadline:
                raise ClientError(f"no node has come up within {patience_s:g} s")
            self._pause()
        for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
            request = ChangeState.Request(transition=Transition(id=transition))
            if not self._wait(self._change.call_async(request), patience_s).success:
                raise ClientError("the node cannot start; its log says why")

    def ask(self, prompt: str, timeout_s: float, on_words: Callable[[str], None]) -> Reply:
        """Asks a question; on_words is given the answer's words as they come."""
        self._pictures.clear()
        sent = self._action.send_goal_async(
            Ask.Goal(prompt=prompt, timeout_s=timeout_s),
            lambda message: on_words(message.feedback.delta),
        )
        goal = self._wait(sent, timeout_s)
        if not goal.accepted:
            raise ClientError(f"the node rejected the question {prompt!r}: see its log")
        # The deadline is the node's own; a node that misses it by this much is stuck.
        answer = self._wait(goal.get_result_async(), timeout_s + 10).result.answer
        is_complete = answer.status in (Answer.OK, Answer.NO_POINT)
        return Reply(answer, self._picture_of(answer) if is_complete else None)

    def _picture_of(self, answer: Answer) -> Image | None:
        deadline = time.monotonic() + PICTURE_S
        while time.monotonic() < deadline:
            for picture in self._pictures:
                if picture.header == answer.header:
                    return picture
            self._pause()
        return None

    def _wait(self, future: Future, patience_s: float) -> Any:
        deadline = time.monotonic() + patience_s
        while not future.done():
            if time.monotonic() > deadline:
                raise ClientError(f"no reply from the node within {patience_s:.0f} s")
            self._check()
            rclpy.spin_until_future_complete(self._node, future, timeout_sec=GLANCE_S)
        return future.result()

    def _pause(self) -> None:
        self._check()
        rclpy.spin_once(self._node, timeout_sec=GLANCE_S)
