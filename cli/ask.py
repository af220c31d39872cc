"""`molmo ask`: one question about one picture; the answer streams."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from molmo_cli.models import open_bundle, open_checkpoint
from molmo_cli.pictures import save_annotated

if TYPE_CHECKING:
    from molmo_engine.predictor import Predictor
    from molmo_engine.records import Answer, PointFound
    from molmo_model.pictures import Rgb


def ask(
    image: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A picture file.")],
    prompt: Annotated[str, typer.Argument(help="The question, like 'Point to the red cube.'")],
    bundle: Annotated[
        Path | None, typer.Option(help="An exported model; the tiny one when not given.")
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="A checkpoint instead, run in torch: slow, needs no export."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the whole answer as one JSON object.")
    ] = False,
    annotate: Annotated[
        Path | None, typer.Option(help="Write the picture with its points to this file.")
    ] = None,
) -> None:
    """Ask a question about a picture. Words appear as they are decoded, then the points.

    Coordinates are percent of the picture, x to the right and y down.

    Examples:  molmo ask cup.jpg "Point to the handle of the cup."

    molmo ask table.png "How many spheres are there?" --json
    """
    from molmo_model.pictures import open_picture

    if bundle and checkpoint:
        raise typer.BadParameter("a bundle or a checkpoint, not both", param_hint="--checkpoint")
    rgb = open_picture(image)
    with closing(open_checkpoint(checkpoint) if checkpoint else open_bundle(bundle)) as predictor:
        answer = predictor.ask(rgb, prompt) if as_json else _stream(predictor, rgb, prompt)
        typer.echo(_json(answer, predictor) if as_json else _summary(answer))
    if annotate:
        save_annotated(annotate, rgb, answer.found)


def _stream(predictor: Predictor, rgb: Rgb, prompt: str) -> Answer:
    """Prints the words as they come; returns the whole answer."""
    from molmo_engine.records import Done, Token

    started = False
    for event in predictor.stream(rgb, prompt):
        if isinstance(event, Done):
            typer.echo()
            return event.answer
        if isinstance(event, Token):
            text = event.text if started else event.text.lstrip()  # answers begin with a blank
            started = started or bool(text)
            typer.echo(text, nl=False)
    raise AssertionError("the stream ended without an answer")


def _summary(answer: Answer) -> str:
    lines = [_line(number, found) for number, found in enumerate(answer.found, 1)]
    timings, usage = answer.timings, answer.usage
    first = timings.first_point_ms
    lines.append(
        ("" if first is None else f"first point after {first:.0f} ms, ")
        + f"answer after {timings.total_ms:.0f} ms: "
        f"{usage.answer_tokens} tokens in {usage.passes} passes"
    )
    return "\n".join(lines)


def _line(number: int, found: PointFound) -> str:
    point, (u, v) = found.point, found.pixel
    return (
        f"{number:3}  {point.label or 'point'}  x {point.x:g} % y {point.y:g} %  "
        f"pixel ({u:.1f}, {v:.1f})  confidence {found.confidence:.2f}"
    )


def _json(answer: Answer, predictor: Predictor) -> str:
    points = [
        asdict(found.point) | {"pixel": found.pixel, "confidence": found.confidence}
        for found in answer.found
    ]
    return json.dumps(
        {
            "text": answer.text,
            "points": points,
            "timings": asdict(answer.timings),
            "usage": asdict(answer.usage),
            "model": predictor.model_id,
            "engine": predictor.engine_id,
        }
    )
