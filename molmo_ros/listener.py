"""Serves subscriptions with a node, an executor and a thread of their own.

For two reasons. Images and transforms wake this small executor only: the node's large one, with
all its services, costs three times as much per message. And rclpy dies when a subscription is
destroyed under a spinning executor: here nothing spins any more by then.
"""

from __future__ import annotations

from itertools import count
from threading import Thread
from typing import Any

from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions

from molmo_ros.qos import UNKNOWN
from molmo_ros.streams import Stream

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

LOOK_S = 0.1  # between two looks whether discovery knows a publisher's node by now
LOOKS = 20


class Listener:
    """Subscriptions that a thread serves, from start until stop."""

    def __init__(self, node: Node, what: str) -> None:
        """node: whose name, namespace and qos_overrides the listening one takes over.

        what: ends the name of the listening one
        """
        name = f"{node.get_name()}_{what}"
        self.node = Node(
            name,
            namespace=node.get_namespace(),
            cli_args=["--ros-args", "-r", f"__node:={name}"],  # a renamed node renames this one
            parameter_overrides=[_wall_time(), *_qos_overrides(node)],
            start_parameter_services=False,
        )
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._thread = Thread(target=self._executor.spin, name=name)

    def subscribe(
        self, kind: type, topic: str, callback: Any, qos: QoSProfile, **options: Any
    ) -> None:
        self.node.create_subscription(kind, topic, callback, qos, **options)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._executor.shutdown()
        if self._thread.ident is not None:  # it was started
            self._thread.join()
        self.node.destroy_node()


class StreamListener(Listener):
    """Listens to cameras, and tells of publishers that cannot be heard."""

    def __init__(self, node: Node) -> None:
        super().__init__(node, "inputs")
        self._log = node.get_logger()

    def follow(self, stream: Stream) -> None:
        """Subscribes to a stream; its QoS may be overridden by parameters (qos_overrides)."""
        self.subscribe(
            stream.kind,
            stream.topic,
            stream.on_message,
            stream.qos,
            event_callbacks=SubscriptionEventCallbacks(
                incompatible_qos=lambda _: self._complain(stream), use_default_callbacks=False
            ),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )

    def _complain(self, stream: Stream) -> None:
        """Logs which publishers are not heard, as soon as discovery knows their nodes."""
        looks = count(1)

        def look() -> None:
            complaint = stream.complaint(self.node)
            if (UNKNOWN in complaint or not complaint) and next(looks) < LOOKS:
                return
            self.node.destroy_timer(timer)
            if complaint:
                self._log.warning(complaint)

        timer = self.node.create_timer(LOOK_S, look)


def _wall_time() -> Parameter:
    """Listening needs no time: with use_sim_time the clock's messages would wake it in vain."""
    return Parameter("use_sim_time", value=False)


def _qos_overrides(node: Node) -> list[Parameter]:
    overrides = node._parameter_overrides.values()
    return [given for given in overrides if given.name.startswith("qos_overrides.")]
