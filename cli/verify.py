"""`molmo verify`: whether a bundle computes what it should, on the engine that will run it."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from molmo_cli.failures import sentence
from molmo_cli.models import Backend


def verify(
    bundle: Annotated[Path, typer.Argument(help="An exported model.")],
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            exists=True, file_okay=False, help="What it was exported from: compare with torch."
        ),
    ] = None,
    backend: Annotated[
        Backend | None, typer.Option(help="What computes; default: what would answer here.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check a bundle: its files by their hashes, then what its engine computes.

    Compares with outputs that were recorded in the bundle when it was exported, so it needs no
    torch; or with the checkpoint. Exit status 1 says: do not use it.

    Examples:  molmo verify my-bundle --backend tensorrt

    molmo verify my-bundle --checkpoint CHECKPOINT
    """
    if checkpoint and backend:
        raise typer.BadParameter(
            "with a checkpoint it is ONNX Runtime that is compared", param_hint="--backend"
        )
    try:
        found = _with_torch(bundle, checkpoint) if checkpoint else _with_record(bundle, backend)
    except Exception as error:
        if not as_json or (problem := sentence(error)) is None:
            raise
        typer.echo(json.dumps({"ok": False, "problem": problem}))
        raise typer.Exit(1) from error
    typer.echo(json.dumps({"ok": True, **found}) if as_json else _words(bundle, found))


def _with_torch(bundle: Path, checkpoint: Path) -> dict[str, Any]:
    from molmo_engine.verify import verify_bundle

    verdict = asdict(verify_bundle(bundle, checkpoint))
    return {
        "against": "torch",
        "engine": f"onnxruntime, {', '.join(verdict['dialects'])}",
    } | verdict


def _with_record(directory: Path, backend: Backend | None) -> dict[str, Any]:
    from molmo_engine.backends import open_runtime
    from molmo_engine.bundle import Bundle
    from molmo_engine.reference import check_reference

    bundle = Bundle.open(directory)
    with closing(open_runtime(bundle, (backend or Backend.auto).value)) as runtime:
        return {"against": "recorded outputs"} | asdict(check_reference(bundle, runtime))


def _words(bundle: Path, found: dict[str, Any]) -> str:
    tokens = "the same tokens" if found["tokens_equal"] else "another token at a near tie"
    return (
        f"{bundle}: right. {found['engine']} against {found['against']}: image features within "
        f"{found['feature_error']:.1e}, logits within {found['logit_error']:.1e}, {tokens}"
    )
