"""Serves with a node until a signal comes, then takes everything apart in an order that is safe.

rclpy's own signal handlers end the context from another thread, under a node that may be
publishing; and Executor.shutdown() takes the guard condition from a thread that still spins. So
the handlers are ours, and an executor is shut down when nothing spins it any more.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Protocol

import rclpy
from rclpy.executors import Executor, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

GLANCE_S = 0.1  # between two looks whether it is over, where nothing else happens
LAST_WORDS_S = 0.5  # the executor has yet to send the result of the goal that close() ended


class Closing(Protocol):
    """A node that has something to end while it is still served."""

    def close(self) -> None: ...


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


def serve_until(signalled: Event, node: Closing) -> None:
    """Serves in a second thread while this one waits; raises what ended serving by itself."""
    executor, over = SingleThreadedExecutor(), Event()
    executor.add_node(node)
    with ThreadPoolExecutor(1) as pool:
        serving = pool.submit(spin, executor, over)
        serving.add_done_callback(lambda _: signalled.set())
        signalled.wait()
        node.close()
        time.sleep(LAST_WORDS_S)
        over.set()
        serving.result()
    executor.shutdown()
