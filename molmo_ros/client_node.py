"""A node of the client's own, spun in a thread of its own, for programs that have none.

Uses rclpy as the program has started it. Where it has not, it is started in a context apart and
without signal handlers: Ctrl-C stays a KeyboardInterrupt, and the node can still be told of it.
"""

from __future__ import annotations

from contextlib import suppress
from threading import Event, Thread
from uuid import uuid4

import rclpy
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from molmo_ros.serving import spin


class OwnNode:
    """Spins from the start until close()."""

    def __init__(self) -> None:
        self._context: Context | None = None
        if not rclpy.ok():
            self._context = Context()
            rclpy.init(context=self._context, signal_handler_options=SignalHandlerOptions.NO)
        name = f"molmo_client_{uuid4().hex[:8]}"  # two nodes of one name would share a logger
        self.node = Node(name, context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._over = Event()
        # A daemon: a program that forgets to close its client ends all the same.
        self._thread = Thread(target=self._spin, name=name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._executor.wake()
        self._thread.join()
        self._executor.shutdown()
        self.node.destroy_node()
        if self._context is not None:
            rclpy.try_shutdown(context=self._context)

    def _spin(self) -> None:
        with suppress(ExternalShutdownException):  # the program has ended rclpy before its client
            spin(self._executor, self._over)
