"""`molmo demo`: the whole chain on a simulated robot cell, or on a recording."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    seed: Annotated[int | None, typer.Option(help="Another seed, another table.")] = None,
    bag: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="Play this recording instead."),
    ] = None,
    prompt: Annotated[
        list[str] | None, typer.Option(help="Ask this instead; may be given several times.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Where the annotated pictures go.")] = Path(
        "demo_output"
    ),
    bundle: Annotated[
        Path | None, typer.Option(help="An exported model; the tiny one when not given.")
    ] = None,
) -> None:
    """See it work: camera, Molmo and waypoints as ROS nodes, with streamed answers.

    Starts a simulated table and the node, asks, prints each waypoint with its true error, saves
    annotated pictures, and ends by itself. Needs no robot, camera, GPU or network.

    Example:  molmo demo --seed 3 --prompt "Point to the red cube."
    """
    from molmo_ros.cell.demo import run_demo

    run_demo(seed=seed, bag=bag, prompts=prompt or [], output=output, bundle=bundle)
