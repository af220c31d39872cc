"""Publishes the node's health on /diagnostics once a second (REP-107).

Through diagnostic_updater where it is installed, with the same messages without it. Knows nothing
of what is checked: checks are functions that return findings, see health.py.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from molmo_ros.health import Finding, Level

log = logging.getLogger(__name__)

PERIOD_S = 1.0
TOPIC = "/diagnostics"  # absolute by convention: aggregators listen there for all robots' nodes

Check = Callable[[], Finding]


def publish_diagnostics(node: Node, hardware_id: str, checks: dict[str, Check]) -> None:
    """Runs the checks once a second from now on and publishes what they find.

    hardware_id: what is diagnosed; checks: by what they look at, like "camera wrist"
    """
    if find_spec("diagnostic_updater"):
        _with_updater(node, hardware_id, checks)
    else:
        _Publisher(node, hardware_id, checks)


def _with_updater(node: Node, hardware_id: str, checks: dict[str, Check]) -> None:
    from diagnostic_updater import Updater

    updater = Updater(node, PERIOD_S)
    updater.setHardwareID(hardware_id)
    for name, check in checks.items():
        updater.add(name, partial(_fill, check))


def _fill(check: Check, status: Any) -> Any:
    """Writes what a check finds into the updater's own kind of status."""
    finding = _found(check)
    status.summary(bytes([finding.level]), finding.message)
    for key, value in finding.values.items():
        status.add(key, value)
    return status


def _found(check: Check) -> Finding:
    """A check that fails is a finding, too: the node must live on, and say so."""
    try:
        return check()
    except Exception as error:
        log.exception("a check of the node's health failed")
        return Finding(Level.ERROR, f"the check failed: {type(error).__name__}: {error}")


class _Publisher:
    """What diagnostic_updater does, as far as we use it."""

    def __init__(self, node: Node, hardware_id: str, checks: dict[str, Check]) -> None:
        self._node, self._hardware_id, self._checks = node, hardware_id, checks
        self._publisher = node.create_publisher(DiagnosticArray, TOPIC, 1)
        # Steady: with use_sim_time and a simulation that stands still, health is still told.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        node.create_timer(PERIOD_S, self._publish, clock=steady)

    def _publish(self) -> None:
        array = DiagnosticArray(status=[self._status(name) for name in self._checks])
        array.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(array)

    def _status(self, name: str) -> DiagnosticStatus:
        finding = _found(self._checks[name])
        return DiagnosticStatus(
            level=bytes([finding.level]),
            name=f"{self._node.get_name()}: {name}",
            message=finding.message,
            hardware_id=self._hardware_id,
            values=[KeyValue(key=key, value=value) for key, value in finding.values.items()],
        )
