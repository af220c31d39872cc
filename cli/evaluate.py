"""`molmo eval`: how good a model is at a task it has not seen."""

from __future__ import annotations

import json
from contextlib import closing
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from molmo_cli.models import open_model
from molmo_cli.progress import progress_bar


class Task(str, Enum):
    """What can be evaluated."""

    scenes = "scenes"


def evaluate(
    model: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, help="A checkpoint or a bundle.")
    ],
    task: Annotated[Task, typer.Argument(help="scenes: simulated tables with exact truth.")],
    n: Annotated[int, typer.Option("-n", min=1, help="How many scenes.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other scenes.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure a model on unseen examples; shares are between 0 and 1.

    scenes: points within 5 % of the picture's width of the object's centre (within5) and on the
    object (inside), right counts (count), and "There are none." for what is not there (none).

    Example:  molmo eval assets/molmo-tiny scenes -n 500 --seed 7 --json
    """
    with closing(open_model(model)) as predictor, progress_bar(task.value, n) as advance:
        from molmo_training.evaluate import evaluate_scenes

        figures = evaluate_scenes(predictor, n, seed, advance)
    if as_json:
        typer.echo(json.dumps(figures))
        return
    for name, value in figures.items():
        typer.echo(f"{name:10} {value:.4g}")
