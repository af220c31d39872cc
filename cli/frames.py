"""`molmo frames`: pictures out of a bag, to be labelled or as they are labelled."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from molmo_cli.recording import RECORDING, End, Every, ImageTopic, Start


def frames(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="BAG",
            exists=True,
            help=RECORDING,
        ),
    ],
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", file_okay=False, help="Where the pictures go; may hold others."
        ),
    ],
    label: Annotated[
        list[str] | None, typer.Option(help="A thing to look for: each picture gets its line.")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="JSON lines by stamp or frame number."),
    ] = None,
    every: Every = 1.0,
    start: Start = 0.0,
    end: End = None,
    image: ImageTopic = None,
    test: Annotated[
        float,
        typer.Option(min=0, max=0.9, help="Share of the pictures, the last, for test.jsonl."),
    ] = 0.0,
) -> None:
    """Take pictures out of a recording, for training and evaluation.

    DIR/data.jsonl gets a line for each picture and label, in which somebody writes the points in
    place of null; see docs/finetune.md. What is there already stays. With --labels the pictures
    that these name are taken, and the lines are complete.

    Examples:  molmo frames recording shelf --label mug --label "mug handle" --every 2 --test 0.2

    molmo frames recording shelf --labels labels.jsonl
    """
    from molmo_ros.bag_pictures import Selection, take_labelled, take_pictures
    from molmo_training.own_lines import parse_row

    if labels:
        taken = take_labelled(source, folder, labels, parse_row, image, test)
    else:
        end_s = math.inf if end is None else end
        selection = Selection(image=image, every_s=every, start_s=start, end_s=end_s)
        taken = take_pictures(source, folder, selection, label or [], test)
    typer.echo(f"{taken.pictures} pictures of {taken.topic}: {taken.directory}")
    for name, count in (("data.jsonl", taken.lines), ("test.jsonl", taken.test_lines)):
        if count:
            typer.echo(f"{count} lines: {folder / name}")
    if taken.broken:
        typer.echo(f"{taken.broken} images cannot be read and are left out")
