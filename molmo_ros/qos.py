"""Quality of service of the inputs: what parameters ask for, and which publishers that bars."""

from __future__ import annotations

from rclpy.qos import (
    HistoryPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)
from rclpy.topic_endpoint_info import TopicEndpointInfo

RELIABILITY = {
    "sensor_data": ReliabilityPolicy.BEST_EFFORT,  # hears reliable publishers as well
    "default": ReliabilityPolicy.RELIABLE,
    "system_default": ReliabilityPolicy.SYSTEM_DEFAULT,
}
UNKNOWN = "_NODE_NAME_UNKNOWN_"  # discovery tells of a publisher before it tells of its node


def profile(name: str = "sensor_data", depth: int = 1) -> QoSProfile:
    """The QoS of a subscription. depth: only the newest frame counts."""
    return QoSProfile(reliability=RELIABILITY[name], history=HistoryPolicy.KEEP_LAST, depth=depth)


def complaint(publisher: TopicEndpointInfo, kind: str, wanted: QoSProfile, what: str) -> str:
    """Why nothing comes from a publisher, and what to set; empty when messages can come.

    kind: the type that we subscribe to; what: the input that it is for, as image
    """
    node = f"{publisher.node_namespace.rstrip('/')}/{publisher.node_name}"
    if publisher.topic_type != kind:
        return (
            f"{node} publishes {publisher.topic_type}, wanted {kind}: check the remapping and the "
            "transport parameters"
        )
    offered = publisher.qos_profile
    compatibility, reason = qos_check_compatible(offered, wanted)
    if compatibility != QoSCompatibility.ERROR:
        return ""
    reliable, best_effort = ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT
    if (wanted.reliability, offered.reliability) == (reliable, best_effort):
        return (
            f"{node} publishes best effort, but {what}_qos asks for reliable: set {what}_qos to "
            "sensor_data, or let the publisher be reliable"
        )
    return f"{node} publishes with another quality of service ({reason.rstrip('; ')})"
