"""`molmo bag`: questions about a recorded camera; the answers become a bag."""

from __future__ import annotations

import json
import math
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from molmo_cli.models import Backend, open_bundle
from molmo_cli.progress import progress_bar
from molmo_cli.recording import RECORDING, End, Every, ImageTopic, Start

NOTES = 8  # in the table, the most frequent ones


def bag(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="IN",
            exists=True,
            help=RECORDING,
        ),
    ],
    output: Annotated[
        Path,
        typer.Argument(metavar="OUT", help="The new bag: a directory, or a file NAME.mcap."),
    ],
    prompt: Annotated[
        list[str], typer.Option(help="The question; several of them are asked about each image.")
    ],
    every: Every = 1.0,
    start: Start = 0.0,
    end: End = None,
    image: ImageTopic = None,
    depth: Annotated[
        str | None, typer.Option(help="Topic of the depth registered to the image; likewise.")
    ] = None,
    camera_info: Annotated[
        str | None, typer.Option(help="Topic of the image's intrinsics; likewise.")
    ] = None,
    slop: Annotated[
        float | None,
        typer.Option(min=0, help="Seconds between the stamps of image and depth, at most."),
    ] = None,
    target_frame: Annotated[
        str,
        typer.Option(help="Frame of the waypoints, by the recorded /tf; the camera's if none."),
    ] = "",
    rectified: Annotated[
        bool, typer.Option("--rectified", help="The image is rectified (image_rect).")
    ] = False,
    bundle: Annotated[
        Path | None, typer.Option(help="An exported model; the tiny one when not given.")
    ] = None,
    backend: Annotated[
        Backend | None,
        typer.Option(help="What computes; the fastest that is ready when not given."),
    ] = None,
    copy: Annotated[
        bool, typer.Option(help="Copy the recording into the new bag, to be seen together.")
    ] = True,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the bag that is there already.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as one JSON object.")
    ] = False,
) -> None:
    """Answer questions about a recorded camera, without a robot and without running nodes.

    The new bag holds the recording and, at the time of each image that was asked about, what the
    node would have published: /molmo/answer, /molmo/text, /molmo/waypoints, /molmo/waypoint,
    /molmo/markers and /molmo/annotated. RViz and Foxglove open it.

    Examples:  molmo bag recording answers --prompt "Point to the mug."

    molmo bag run7.mcap run7_mugs.mcap --prompt "Point to the mug." --every 0.2 --start 30 --end 40
    """
    from molmo_ros.offline import Order, answer_bag
    from molmo_ros.parameters import Parameters

    order = Order(
        source=source,
        output=output,
        prompts=prompt,
        image=image,
        depth=depth,
        camera_info=camera_info,
        every_s=every,
        start_s=start,
        end_s=math.inf if end is None else end,
        settings=Parameters(
            slop_s=Parameters.slop_s if slop is None else slop,
            rectified=rectified,
            target_frame=target_frame,
        ),
        copies=copy,
        force=force,
    )
    with _tidy_ends(), progress_bar(source.name, 100) as advance:
        summary = answer_bag(
            order, lambda: open_bundle(bundle, backend), lambda share: advance(100 * share)
        )
    figures = summary.figures()
    typer.echo(json.dumps(figures | {"out": str(output)}) if as_json else _table(figures, output))
    if figures["errors"] == figures["answers"]:
        raise typer.Exit(1)


@contextmanager
def _tidy_ends() -> Iterator[None]:
    """Lets SIGTERM end the program as Ctrl-C does: whatever is half done goes away."""
    before = signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _table(figures: dict[str, Any], output: Path) -> str:
    """The figures of a summary for people, and behind them what was doubtful."""
    topics, waypoints = figures["topics"], figures["waypoints"]
    rows = {
        **topics,
        "frames": figures["frames"],
        "answers": figures["answers"],
        "OK": figures["ok"],
        "NO_POINT": figures["no_point"],
        "errors": figures["errors"],
        "waypoints": ", ".join(f"{n} {status}" for status, n in waypoints.items()) or "none",
        "ms per answer": f"{figures['ms_per_answer']:.0f}",
    }
    lines = [f"{name:14} {'none' if value is None else value}" for name, value in rows.items()]
    notes = sorted(figures["notes"].items(), key=lambda item: -item[1])
    lines += [f"{times} x {note}" for note, times in notes[:NOTES]]
    if len(notes) > NOTES:
        lines.append(f"{len(notes) - NOTES} other notes: --json has them all")
    return "\n".join([*lines, f"written: {output}"])
