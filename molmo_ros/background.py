"""Does what blocks in threads, so that the one thread that executes callbacks never waits.

Callbacks are coroutines that await such work. rclpy looks at a coroutine that awaits whenever its
executor wakes up, so the end of the work wakes it. Knows nothing of what is done.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any, Generic, TypeVar

from rclpy.node import Node
from rclpy.task import Future

T = TypeVar("T")

TAKEN_S = 0.02  # the longest that is waited for a result to be taken


class Handover(Generic[T]):
    """Hands a result from a thread to the coroutine that takes it."""

    def __init__(self, wake: Callable[[], None]) -> None:
        """wake: the executor of the coroutine."""
        self._result = Future()
        self._result.add_done_callback(lambda _: wake())
        self._is_taken = Event()

    def give(self, result: T) -> None:
        """Once, from any thread."""
        self._result.set_result(result)

    def fail(self, error: Exception) -> bool:
        """Gives an error in place of the result; false when it comes too late."""
        if self._result.done():
            return False
        self._result.set_exception(error)
        return True

    async def take(self) -> T:
        """The result, once it is there; raises the error that came in its place."""
        try:
            return await self._result  # type: ignore[no-any-return]
        finally:
            self._is_taken.set()

    def let_take(self) -> None:
        """Gives way to the coroutine, which needs the interpreter as the caller does."""
        self._is_taken.wait(TAKEN_S)


class Background:
    """Threads for the callbacks of a node."""

    def __init__(self, node: Node, threads: int) -> None:
        """threads: the most that are made; further work waits for one."""
        self._node = node
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="molmo_background")

    def handover(self) -> Handover[Any]:
        """For one result."""
        return Handover(self._wake)

    def run(self, work: Callable[[], T]) -> Coroutine[Any, Any, T]:
        """Awaits to what the work returns, or raises what it raises."""
        result = self.handover()
        self.start(lambda: result.give(work()), result)
        return result.take()

    def start(self, work: Callable[[], None], result: Handover[T]) -> None:
        """Begins work that gives this result, or raises in its place; it may go on after that."""
        self._threads.submit(self._do, work, result)

    def close(self) -> None:
        """Waits for all that was begun."""
        self._threads.shutdown()

    def _do(self, work: Callable[[], None], result: Handover[T]) -> None:
        try:
            work()
        except Exception as error:
            if not result.fail(error):
                self._node.get_logger().error(f"{type(error).__name__}: {error}")

    def _wake(self) -> None:
        if self._node.executor is not None:
            self._node.executor.wake()
