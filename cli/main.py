"""The program `molmo`: names the sub-commands and turns failures into one sentence each.

Knows nothing of models: every command imports what it needs when it runs, so that help is instant.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from molmo_cli import (
    ask,
    bag,
    build,
    collect,
    demo,
    doctor,
    evaluate,
    export,
    fetch,
    frames,
    train,
    verify,
)
from molmo_cli.failures import sentence

app = typer.Typer(
    name="molmo",
    help="Look and point: ask Molmo about pictures, train it, and pack it for a robot.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.command("demo")(demo.demo)
app.command("ask")(ask.ask)
app.command("bag")(bag.bag)
app.command("doctor")(doctor.doctor)
app.command("fetch")(fetch.fetch)
app.command("export")(export.export)
app.command("build")(build.build)
app.command("verify")(verify.verify)
app.command("collect")(collect.collect)
app.command("frames")(frames.frames)
app.command("train")(train.train)
app.command("eval")(evaluate.evaluate)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs one sub-command; exits with 0, with 1 when it failed, with 2 when it was misused."""
    try:
        app(args=argv, prog_name="molmo")
    except Exception as error:
        said = sentence(error)
        if said is None:
            raise
        typer.echo(f"molmo: {said}", err=True)
        sys.exit(1)
