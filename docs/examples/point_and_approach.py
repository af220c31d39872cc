"""Sends an arm in front of what is named: point_and_approach.py "the mug handle"."""

import sys
import time

from geometry_msgs.msg import PoseStamped
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher

from molmo_ros.client import MolmoClient, approach, sigma_m

PREGRASP_M = 0.10  # from here the gripper moves straight on
SURE_M = 0.02  # a position less certain than this is not worth a grasp


def main(what: str) -> str | None:
    """Sends the arm; returns why not, where it cannot."""
    with MolmoClient() as molmo:
        arm = open_arm(molmo.node)
        molmo.bring_up()
        for waypoint in molmo.point(what, timeout_s=10.0):
            if sigma_m(waypoint) < SURE_M:
                print(f"{waypoint.label}: open {1000 * waypoint.extent_across_m:.0f} mm at least")
                arm.publish(approach(waypoint, PREGRASP_M))
                arm.wait_for_all_acked(Duration(seconds=5))
                return None
    return f"there is nothing to go to: {what}"


def open_arm(node: Node) -> Publisher:
    """Stands for your own arm: one that listens to poses."""
    arm = node.create_publisher(PoseStamped, "arm/goal", 1)
    for _ in range(50):
        if arm.get_subscription_count():
            return arm
        time.sleep(0.1)
    raise RuntimeError("no arm listens to arm/goal")


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1]))
    except RuntimeError as error:  # a MolmoError is one, too
        sys.exit(str(error))
