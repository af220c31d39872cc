"""`molmo eval`: how good a model is at a task it has not seen, and what an engine costs of it."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from molmo_cli.figures import both, plain, table
from molmo_cli.models import Backend, open_model
from molmo_cli.progress import progress_bar

if TYPE_CHECKING:
    from molmo_training.evaluate import Outcome
    from molmo_training.tasks_example import Examples, Task


def evaluate(
    model: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, help="A checkpoint or a bundle.")
    ],
    task: Annotated[
        str, typer.Argument(help="A benchmark, or a folder with your robot's data.jsonl.")
    ],
    n: Annotated[
        int | None,
        typer.Option("-n", min=1, help="How many examples (scenes: 100), drawn by the seed."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="A folder with the benchmark's data."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other examples.")] = 0,
    backend: Annotated[
        Backend | None,
        typer.Option(help="What computes the bundle; the fastest that is ready when not given."),
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="Keep the answers here; go on where a run stopped."),
    ] = None,
    compare: Annotated[
        Path | None,
        typer.Option(exists=True, help="Another model, or the --predictions of another run."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure a model on unseen examples; shares are between 0 and 1.

    scenes, simulated tables: points within 5 % of the picture's width of the object's centre
    (within5) and on the object (inside), right counts (count), and "There are none." for what is
    not there (none).

    Published benchmarks, each with its own metric: pixmo_points, pixmo_count, countbench, vqa2,
    text_vqa, okvqa, a_okvqa_mc, a_okvqa_da, chart_qa, doc_qa, info_qa, ai2d, tally_qa,
    real_world_qa, mmmu, math_vista, clocks.

    Examples:  molmo eval assets/molmo-tiny scenes -n 500 --seed 7 --json

    molmo eval my-bundle my-robot/ --predictions answers.jsonl

    molmo eval my-bundle scenes --compare my-checkpoint
    """
    from molmo_training.tasks import find_task
    from molmo_training.tasks_example import UnknownTaskError

    try:
        found = find_task(task)
    except UnknownTaskError as error:
        raise typer.BadParameter(str(error), param_hint="TASK") from error
    examples = found.examples(data, n, seed)
    own = _run(model, found, examples, seed, backend, predictions)
    other = _run(compare, found, examples, seed, None, None) if compare else None
    if as_json:
        typer.echo(json.dumps(plain(found, examples, own, other)))
    else:
        typer.echo(both(own, other, examples.n) if other else table(own, examples.n))


def _run(
    model: Path,
    task: Task,
    examples: Examples,
    seed: int,
    backend: Backend | None,
    predictions: Path | None,
) -> Outcome:
    """Asks a model; of a file of predictions judges what is in it."""
    from molmo_engine.records import AskOptions
    from molmo_training.evaluate import evaluate
    from molmo_training.predictions import Predictions, read_predictions

    about: dict[str, str | int] = {"task": task.name, "seed": seed}
    bar = progress_bar(f"{task.name}: {model.name}", len(examples))
    if model.is_file():
        with bar as advance:
            return evaluate(examples, task.score, None, read_predictions(model, about), advance)
    options = AskOptions(max_new_tokens=task.max_new_tokens, max_crops=task.max_crops)
    with closing(open_model(model, backend, task.max_crops)) as predictor:
        _say_if_coarser(model, predictor.config.crops.max_crops, task.max_crops)
        about |= {"model": predictor.model_id, "engine": predictor.engine_id}
        with Predictions(about, predictions) as kept, bar as advance:
            return evaluate(
                examples,
                task.score,
                lambda rgb, prompt: predictor.ask(rgb, prompt, options).text,
                kept,
                advance,
            )


def _say_if_coarser(model: Path, own: int, published: int | None) -> None:
    if published and 1 < own < published:
        typer.echo(
            f"{model}: looks at {own} crops, published scores at {published}: expect less of it, "
            "or measure its checkpoint",
            err=True,
        )
