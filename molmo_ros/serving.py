"""Serves with a node until a signal comes, then takes everything apart in an order that is safe.

rclpy's own signal handlers end the context from another thread, under a node that may be
publishing; and Executor.shutdown() takes the guard condition from a thread that still spins. So
the handlers are ours, and an executor is shut down when nothing spins it any more.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from threading import Event

import rclpy
from rclpy.executors import Executor, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

GLANCE_S = 0.1  # between two looks whether it is over, where nothing else happens


def start(args: list[str] | None) -> Event:
    """Starts rclpy; returns what SIGINT and SIGTERM set."""
    signalled = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: signalled.set())
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    return signalled


def spin(executor: Executor, over: Event) -> None:
    """Executes callbacks until `over` is set."""
    while not over.is_set():
        executor.spin_once(timeout_sec=GLANCE_S)


def serve(make_node: Callable[[], Node], args: list[str] | None) -> None:
    """Makes a node and serves with it until SIGINT or SIGTERM, all in the calling thread."""
    signalled = start(args)
    try:
        node = make_node()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        spin(executor, signalled)
        executor.shutdown()
        node.destroy_node()
    finally:
        rclpy.try_shutdown()
