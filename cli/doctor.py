"""`molmo doctor`: what this machine has, what would run on it, and what to do about the rest."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from molmo_cli.findings import Finding
from molmo_cli.models import Backend


def doctor(
    bundle: Annotated[
        Path | None,
        typer.Argument(help="The model that is to run; the tiny one when not given."),
    ] = None,
    backend: Annotated[
        Backend, typer.Option(help="What is to compute; auto: whatever is there.")
    ] = Backend.auto,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Look at this machine: software, GPU, memory, ROS, and the model that is to run.

    Quick: loads no model and sends nothing. `molmo verify` is what computes. Exit status 1 says
    that what was asked for cannot run; lines with an arrow say what to do.

    Example:  molmo doctor my-bundle --backend tensorrt
    """
    from molmo_cli.doctor_engine import look_at_engine
    from molmo_cli.doctor_machine import look_at_machine
    from molmo_cli.doctor_software import look_at_ros, look_at_software

    findings = [
        *look_at_software(),
        *look_at_machine(),
        *look_at_ros(),
        *look_at_engine(bundle, backend.value),
    ]
    is_fine = not any(finding.fails for finding in findings)
    if as_json:
        typer.echo(json.dumps({"ok": is_fine, "findings": [asdict(one) for one in findings]}))
    else:
        typer.echo("\n".join(map(_lines, findings)))
    raise typer.Exit(0 if is_fine else 1)


def _lines(finding: Finding) -> str:
    mark = "FAILS" if finding.fails else "note" if finding.advice else "ok"
    advice = f"\n{'':22}-> {finding.advice}" if finding.advice else ""
    return f"{mark:6}{finding.topic:16}{finding.found}{advice}"
