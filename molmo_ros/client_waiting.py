"""Waits for replies of the Molmo node, never in the thread that would have to bring them.

Knows futures and executors; nothing of questions.
"""

from __future__ import annotations

import sys
from threading import Event
from typing import Any

from rclpy.node import Node
from rclpy.task import Future

from molmo_ros.ending import Ending
from molmo_ros.msg import Answer


class MolmoError(RuntimeError):
    """A question without a complete answer, or a node that does not do what was asked of it.

    status: how the answer ended; None when the node has given none
    answer: what was decoded until then; None likewise
    """

    def __init__(
        self, message: str, status: Ending | None = None, answer: Answer | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.answer = answer


def wait(node: Node, future: Future, timeout_s: float, late: str) -> Any:
    """What a future of rclpy brings; after timeout_s it raises MolmoError, which says `late`."""
    refuse_in_callback(node)
    is_done = Event()
    future.add_done_callback(lambda _: is_done.set())
    if not is_done.wait(timeout_s):
        future.cancel()
        raise MolmoError(late)
    return future.result()


def refuse_in_callback(node: Node) -> None:
    """Raises where a wait would wait for itself: below a callback of the executor of this node.

    Sees callbacks that run in the thread that spins. The threads of a MultiThreadedExecutor may
    wait, as long as one of them is left for the reply.
    """
    executor = node.executor
    frame = sys._getframe(1)
    while executor is not None and frame is not None:
        if frame.f_locals.get("self") is executor:
            raise MolmoError(
                "a blocking call inside a callback would wait forever: its reply comes through "
                "the thread that runs this callback. Use the _async twin, or another thread"
            )
        frame = frame.f_back
