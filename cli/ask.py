"""`molmo ask`: one question about one picture; the answer streams."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from molmo_cli.models import Backend, open_bundle, open_checkpoint, open_remote
from molmo_cli.pictures import save_annotated

if TYPE_CHECKING:
    from molmo_engine.predictor import Predictor
    from molmo_engine.records import Answer, PointFound
    from molmo_engine.remote import RemotePredictor
    from molmo_model.pictures import Rgb

    Asked = Predictor | RemotePredictor


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
    backend: Annotated[
        Backend | None,
        typer.Option(help="What computes the bundle; the fastest that is ready when not given."),
    ] = None,
    remote: Annotated[
        str | None,
        typer.Option(metavar="URL", help="A server instead that speaks OpenAI's protocol."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="As the server calls it.")] = None,
    key_file: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="Its key; default: MOLMO_API_KEY, or none."
        ),
    ] = None,
    ca_file: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="Certificates (PEM) of who signed its own."
        ),
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

    molmo ask cup.jpg "Point to the cup." --remote https://gpu.lan:8000/v1 --model Molmo-72B
    """
    from molmo_model.pictures import open_picture

    sources = {"--bundle": bundle, "--checkpoint": checkpoint, "--remote": remote}
    given = [name for name, value in sources.items() if value is not None]
    if len(given) > 1:
        raise typer.BadParameter("there is one model to ask", param_hint=" and ".join(given))
    if backend and given not in ([], ["--bundle"]):
        raise typer.BadParameter("only a bundle has a choice", param_hint="--backend")
    if (remote is None) != (model is None):
        raise typer.BadParameter("it goes with --remote", param_hint="--model")
    rgb = open_picture(image)
    if remote and model:
        opened: Asked = open_remote(remote, model, key_file, ca_file)
    else:
        opened = open_checkpoint(checkpoint) if checkpoint else open_bundle(bundle, backend)
    with closing(opened) as predictor:
        answer = predictor.ask(rgb, prompt) if as_json else _stream(predictor, rgb, prompt)
        typer.echo(_json(answer, predictor) if as_json else _summary(answer))
    if annotate:
        save_annotated(annotate, rgb, answer.found)


def _stream(predictor: Asked, rgb: Rgb, prompt: str) -> Answer:
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
        f"{usage.answer_tokens} tokens" + (f" in {usage.passes} passes" if usage.passes else "")
    )
    return "\n".join(lines)


def _line(number: int, found: PointFound) -> str:
    point, (u, v) = found.point, found.pixel
    return (
        f"{number:3}  {point.label or 'point'}  x {point.x:g} % y {point.y:g} %  "
        f"pixel ({u:.1f}, {v:.1f})  confidence {found.confidence:.2f}"
    )


def _json(answer: Answer, predictor: Asked) -> str:
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
