"""A guest of the cell: asks the Molmo node, prints what streams back, keeps the pictures.

Brings the node up first, as a lifecycle manager would. Knows the truth about the simulated table
only to say how far each waypoint is from it.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from queue import Empty, SimpleQueue

import cv2
import numpy as np
from sensor_msgs.msg import Image

from molmo_ros import convert
from molmo_ros.cell.truth import Truth
from molmo_ros.client import MolmoClient, MolmoError
from molmo_ros.geometry import Status
from molmo_ros.msg import Answer, Waypoint

SEED = 37  # a red cube and four red spheres
START_S = 60.0  # for the nodes to come up on a slow machine
ANSWER_S = 30.0
PICTURE_S = 5.0  # an annotated picture comes with its answer; later it will not come


def visit(molmo: MolmoClient, prompts: Sequence[str], truth: Truth | None, output: Path) -> None:
    """Asks all questions, one after the other; pictures go to `output`."""
    pictures = Pictures(molmo)
    molmo.bring_up(START_S)
    for number, prompt in enumerate(prompts, 1):
        answer = _ask(molmo, prompt, truth)
        if picture := pictures.of(answer):
            file = output / f"{number}_{_slug(prompt)}.png"
            _save(picture, file)
            print(f"  {file}", flush=True)


class Pictures:
    """The node's own pictures of its answers."""

    def __init__(self, molmo: MolmoClient) -> None:
        self._heard: SimpleQueue[Image] = SimpleQueue()
        molmo.node.create_subscription(Image, f"{molmo.name}/annotated", self._heard.put, 1)

    def of(self, answer: Answer) -> Image | None:
        """Waits a little for the picture of an answer; None when there is none."""
        until_s = time.monotonic() + PICTURE_S
        while (left_s := until_s - time.monotonic()) > 0:
            try:
                picture = self._heard.get(timeout=left_s)
            except Empty:
                break
            if picture.header == answer.header:
                return picture
        return None


def _ask(molmo: MolmoClient, prompt: str, truth: Truth | None) -> Answer:
    """Asks one question and prints all that comes back."""
    print(f"\n> {prompt}\n  ", end="", flush=True)
    answer = molmo.ask(
        prompt, timeout_s=ANSWER_S, on_text=lambda words: print(words, end="", flush=True)
    )
    print()
    for waypoint in answer.waypoints:
        print(f"  {_describe(waypoint, truth)}")
    first = f"first waypoint after {answer.first_waypoint_ms:.0f} ms, "
    print(f"  ({first if answer.waypoints else ''}all after {answer.total_ms:.0f} ms)")
    return answer


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


def _save(picture: Image, file: Path) -> None:
    rgb = convert.to_rgb(picture)
    if not cv2.imwrite(str(file), rgb[:, :, ::-1]):
        raise OSError(f"{file}: cannot be written")


def _slug(prompt: str) -> str:
    """A prompt as part of a file name."""
    return re.sub(r"\W+", "_", prompt.lower()).strip("_")[:40]


def main() -> int:
    """Asks about the simulated table whose `seed` the camera has, then ends: 0, or 1."""
    with MolmoClient() as molmo:
        node = molmo.node
        try:
            truth = Truth(node.declare_parameter("seed", SEED).value)
            output = Path(node.declare_parameter("output", "demo_output").value)
            output.mkdir(parents=True, exist_ok=True)
            visit(molmo, truth.questions(), truth, output)
        except (MolmoError, OSError) as error:
            node.get_logger().fatal(str(error))
            return 1
        except KeyboardInterrupt:
            pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
