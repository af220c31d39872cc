"""Does what blocks in threads, so that the one thread that executes callbacks never waits.

Callbacks are coroutines that await such work. rclpy looks at a coroutine that awaits whenever its
executor wakes up, so the end of the work wakes it. Knows nothing of what is done.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from rclpy.node import Node
from rclpy.task import Future

T = TypeVar("T")


class Background:
    """Threads for the callbacks of a node."""

    def __init__(self, node: Node, threads: int) -> None:
        """threads: the most that are made; further work waits for one."""
        self._node = node
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="molmo_background")

    def run(self, work: Callable[[], T]) -> Future:
        """Awaits to what the work returns, or raises what it raises."""
        return self.start(lambda result: result.set_result(work()))

    def start(self, work: Callable[[Future], None]) -> Future:
        """Awaits to the result that the work sets; it may go on after that."""
        result = Future()
        result.add_done_callback(lambda _: self._wake())
        self._threads.submit(self._do, work, result)
        return result

    def close(self) -> None:
        """Waits for all that was begun."""
        self._threads.shutdown()

    def _do(self, work: Callable[[Future], None], result: Future) -> None:
        try:
            work(result)
        except Exception as error:
            if result.done():
                self._node.get_logger().error(f"{type(error).__name__}: {error}")
            else:
                result.set_exception(error)

    def _wake(self) -> None:
        if self._node.executor is not None:
            self._node.executor.wake()
