"""A guest of the cell: asks the Molmo node, prints what streams back, keeps the pictures.

Brings the node up first, as a lifecycle manager would. Knows the truth about the simulated table
only to say how far each waypoint is from it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException

from molmo_ros import convert
from molmo_ros.cell.client import Client, ClientError, Reply
from molmo_ros.cell.truth import Truth
from molmo_ros.ending import Ending
from molmo_ros.geometry import Status
from molmo_ros.msg import Answer, Waypoint

SEED = 37  # a red cube and four red spheres
START_S = 60.0  # for the nodes to come up on a slow machine
ANSWER_S = 30.0


def visit(client: Client, prompts: Sequence[str], truth: Truth | None, output: Path) -> None:
    """Asks all questions, one after the other; pictures go to `output`."""
    for number, prompt in enumerate(prompts, 1):
        _ask(client, prompt, truth, output / f"{number}_{_slug(prompt)}.png")


def _ask(client: Client, prompt: str, truth: Truth | None, file: Path) -> None:
    """Asks one question and prints all that comes back."""
    print(f"\n> {prompt}\n  ", end="", flush=True)
    reply = client.ask(prompt, ANSWER_S, lambda words: print(words, end="", flush=True))
    print()
    answer = reply.answer
    if answer.status not in (Answer.OK, Answer.NO_POINT):
        raise ClientError(f"{prompt!r} ended as {Ending(answer.status).name}: {answer.message}")
    for waypoint in answer.waypoints:
        print(f"  {_describe(waypoint, truth)}")
    first = f"first waypoint after {answer.first_waypoint_ms:.0f} ms, "
    print(f"  ({first if answer.waypoints else ''}all after {answer.total_ms:.0f} ms)")
    if _save(reply, file):
        print(f"  {file}", flush=True)


def _describe(waypoint: Waypoint, truth: Truth | None) -> str:
    """Where a waypoint is and, where the truth is known, how far from it."""
    position = waypoint.pose.pose.position
    xyz = np.array([position.x, position.y, position.z])
    if waypoint.status != Waypoint.OK:
        status = Status(waypoint.status).name
        return f"{waypoint.label}: pixel ({waypoint.u:.0f}, {waypoint.v:.0f}), {status}"
    place = ", ".join(f"{value:+.3f}" for value in xyz)
    text = f"{waypoint.label}: ({place}) m in {waypoint.header.frame_id}"
    if truth is None:
        return text
    if (miss := truth.miss(xyz, waypoint.label)) is None:
        return f"{text}; there is no {waypoint.label}"
    return (
        f"{text}; {miss.surface_mm:.1f} mm from the true surface of the {miss.name}, "
        f"{miss.centre_mm:.1f} mm from its middle"
    )


def _save(reply: Reply, file: Path) -> bool:
    """Writes the node's annotated picture; false when there is none."""
    if reply.picture is None:
        return False
    rgb = convert.to_rgb(reply.picture)
    if not cv2.imwrite(str(file), rgb[:, :, ::-1]):
        raise OSError(f"{file}: cannot be written")
    return True


def _slug(prompt: str) -> str:
    """A prompt as part of a file name."""
    return re.sub(r"\W+", "_", prompt.lower()).strip("_")[:40]


def main(args: list[str] | None = None) -> int:
    """Asks about the simulated table whose `seed` the camera has, then ends: 0, or 1."""
    rclpy.init(args=args)
    node = rclpy.create_node("guest")
    try:
        truth = Truth(node.declare_parameter("seed", SEED).value)
        output = Path(node.declare_parameter("output", "demo_output").value)
        output.mkdir(parents=True, exist_ok=True)
        client = Client(node)
        client.bring_up(START_S)
        visit(client, truth.questions(), truth, output)
    except (ClientError, OSError) as error:
        node.get_logger().fatal(str(error))
        return 1
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
