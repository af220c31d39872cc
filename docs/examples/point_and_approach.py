"""Sends an arm to what a sentence names: point_and_approach.py "the mug handle"."""

import sys

from geometry_msgs.msg import PoseStamped

from molmo_ros.client import MolmoClient, MolmoError, approach, sigma_m

PREGRASP_M = 0.10
SURE_M = 0.02  # a position less sure than this is not worth a grasp


def main(what: str) -> int:
    with MolmoClient() as molmo:
        arm = molmo.node.create_publisher(PoseStamped, "arm/goal", 1)
        try:
            molmo.bring_up()
            waypoints = molmo.point(what, timeout_s=10.0)
        except MolmoError as error:
            return f"no answer: {error}"
        for waypoint in (each for each in waypoints if sigma_m(each) < SURE_M):
            opening_m = waypoint.extent_across_m
            print(
                f"{waypoint.label}: {1000 * opening_m:.0f} mm wide, {waypoint.confidence:.0%} sure"
            )
            arm.publish(approach(waypoint, PREGRASP_M))
            return 0
    return f"nothing to go to: {what}"


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
