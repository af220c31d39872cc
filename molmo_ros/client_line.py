"""The line to the action of one Molmo node: goals, cancels, and who is at the other end."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any
from weakref import WeakMethod

from rclpy.action import ActionClient
from rclpy.action.client import ClientGoalHandle
from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.task import Future

from molmo_ros.action import Ask


class Line(ActionClient):
    """An action client whose requests may be sent from any thread.

    rclpy notes a request after it is sent, and drops a reply that another thread takes in between.
    """

    def __init__(self, node: Node, name: str, group: CallbackGroup) -> None:
        """name: of the Molmo node, absolute."""
        self.node = node
        self.address = f"{name}/ask"
        self._sending = Lock()
        super().__init__(node, Ask, self.address, callback_group=group)

    def send(self, goal: Ask.Goal, on_feedback: Callable[[Any], None]) -> Future:
        """on_feedback: a method of what is kept elsewhere, as long as feedback is wanted."""
        listener = WeakMethod(on_feedback)  # rclpy keeps the callback of a rejected goal for ever

        def hear(message: Any) -> None:
            if (method := listener()) is not None:
                method(message)

        with self._sending:
            return self.send_goal_async(goal, hear)

    def fetch_result(self, goal: ClientGoalHandle) -> Future:
        with self._sending:
            return goal.get_result_async()

    def cancel(self, goal: ClientGoalHandle) -> None:
        """Tells the node to stop; it cannot be told when rclpy has been shut down."""
        if self.node.context.ok():
            with self._sending:
                goal.cancel_goal_async()

    def close(self) -> None:
        """Leaves the node. The garbage collector does the rest, once no executor waits for it.

        destroy() would take it from an executor that is about to wait, and end that.
        """
        self.node.remove_waitable(self)

    def servers(self) -> frozenset[bytes]:
        """Identities of the nodes that serve the action: a restarted node is another one."""
        found = self.node.get_publishers_info_by_topic(f"{self.address}/_action/status")
        return frozenset(bytes(endpoint.endpoint_gid) for endpoint in found)

    def take_data(self) -> Any:
        with self._sending:
            return super().take_data()
