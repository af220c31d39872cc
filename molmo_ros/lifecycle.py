"""A lifecycle node that survives what its managers do to it.

rclpy's own one dies of an out-of-order transition request (RCLError out of the service callback
ends spin) and answers no service while a transition runs: here it runs in a thread. Knows nothing
of Molmo.
"""

from __future__ import annotations

from typing import Any

from rclpy.action.server import RCLError
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNodeMixin, TransitionCallbackReturn
from rclpy.node import Node

from molmo_ros.background import Background


class SafeLifecycleNode(LifecycleNodeMixin, Node):
    """rclpy's LifecycleNode with transitions in the background, and guarded."""

    def __init__(self, name: str, threads: int) -> None:
        """threads: for all that blocks, transitions included."""
        Node.__init__(self, name)
        self.background = Background(self, threads)
        LifecycleNodeMixin.__init__(self, callback_group=ReentrantCallbackGroup())
        change_state = self._service_change_state
        change_state.callback = self._guarded(change_state.callback)

    def start_by_itself(self) -> None:
        """Configures and activates as soon as the node spins."""
        # Steady time: with use_sim_time the node's own clock may stand still for now.
        steady = Clock(clock_type=ClockType.STEADY_TIME)

        def begin() -> None:
            timer.cancel()
            self.background.start(start, self.background.handover())

        def start() -> None:
            if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
                self.trigger_activate()

        timer = self.create_timer(0.0, begin, clock=steady)

    def _guarded(self, change_state: Any) -> Any:
        """The service callback, answering success=False where it would raise."""

        async def answer(request: Any, response: Any) -> Any:
            try:
                return await self.background.run(lambda: change_state(request, response))
            except RCLError as error:
                wanted = request.transition.label or request.transition.id
                self.get_logger().error(
                    f"transition '{wanted}' is not possible in state "
                    f"'{self._state_machine.current_state[1]}': {error}"
                )
                response.success = False
                return response

        return answer
