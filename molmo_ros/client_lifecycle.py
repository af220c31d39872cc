"""Sees in which state the Molmo node is, and brings it up where no lifecycle manager does.

Blocks; asks the node's lifecycle services.
"""

from __future__ import annotations

import time
from contextlib import suppress
from time import monotonic

from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node

from molmo_ros.client_waiting import MolmoError, refuse_in_callback, wait

GLANCE_S = 0.1  # between two looks at a node that comes up
STATE_S = 2.0  # a node that is there tells its state at once, even while it loads
TRIES = 3  # the first reply may be lost, while DDS still introduces the two

NEXT_STEP = {  # on the way to active
    State.PRIMARY_STATE_UNCONFIGURED: (Transition.TRANSITION_CONFIGURE, "configured"),
    State.PRIMARY_STATE_INACTIVE: (Transition.TRANSITION_ACTIVATE, "activated"),
}


class Lifecycle:
    """The lifecycle of one node, by its absolute name."""

    def __init__(self, node: Node, name: str, group: CallbackGroup) -> None:
        self._node = node
        self._name = name
        self._state = node.create_client(GetState, f"{name}/get_state", callback_group=group)
        self._change = node.create_client(
            ChangeState, f"{name}/change_state", callback_group=group
        )

    def close(self) -> None:
        self._node.destroy_client(self._state)
        self._node.destroy_client(self._change)

    def wait_until_active(self, timeout_s: float) -> None:
        """Returns when the node is active; raises MolmoError if it is not within timeout_s."""
        until_s = monotonic() + timeout_s
        while (state := self._look(until_s)).id != State.PRIMARY_STATE_ACTIVE:
            if monotonic() > until_s:
                raise MolmoError(
                    f"node {self._name} is {state.label}, wanted active, after {timeout_s:g} s: "
                    "bring_up() activates it, or a lifecycle manager, or its parameter autostart"
                )
            time.sleep(GLANCE_S)

    def bring_up(self, timeout_s: float) -> None:
        """Configures and activates the node, from whatever state it is in."""
        until_s = monotonic() + timeout_s
        while (state := self._look(until_s)).id != State.PRIMARY_STATE_ACTIVE:
            if monotonic() > until_s:
                raise MolmoError(f"node {self._name} is still {state.label} after {timeout_s:g} s")
            if state.id == State.PRIMARY_STATE_FINALIZED:
                raise MolmoError(f"node {self._name} is finalized: start it again")
            if state.id in NEXT_STEP:
                self._step(state, until_s)
            else:  # somebody else brings it up
                time.sleep(GLANCE_S)

    def _step(self, state: State, until_s: float) -> None:
        """One transition towards active."""
        transition, done = NEXT_STEP[state.id]
        request = ChangeState.Request(transition=Transition(id=transition))
        late = f"node {self._name} has not been {done} in time: its log may say why"
        changed = wait(self._node, self._change.call_async(request), until_s - monotonic(), late)
        # Somebody else may have been faster: then the node is not where it was.
        if not changed.success and self._look(until_s).id == state.id:
            raise MolmoError(f"node {self._name} cannot be {done}: its log says why")

    def _look(self, until_s: float) -> State:
        """The state of the node, as soon as the node is there."""
        refuse_in_callback(self._node)
        while not (self._state.service_is_ready() and self._change.service_is_ready()):
            if monotonic() > until_s or not self._node.context.ok():
                raise MolmoError(
                    f"there is no node {self._name}: start it, or name it as `ros2 node list` does"
                )
            time.sleep(GLANCE_S)
        for _ in range(TRIES):
            asked = self._state.call_async(GetState.Request())
            with suppress(MolmoError):
                return wait(self._node, asked, STATE_S, "no state").current_state
        raise MolmoError(
            f"node {self._name} does not tell its state: is it stuck, or does nobody spin ours?"
        )
