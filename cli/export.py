"""`molmo export`: from a checkpoint to a bundle that a robot can be given."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

NEAR = 0.5  # of what fp16 holds: the next picture may be louder


class Precision(str, Enum):
    """Of the weights in the exported graphs."""

    fp32 = "fp32"
    fp16 = "fp16"
    bf16 = "bf16"
    int8 = "int8"
    int4 = "int4"
    int8_fp32 = "int8-fp32"
    int4_fp32 = "int4-fp32"


def export(
    checkpoint: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, help="A published or trained Molmo.")
    ],
    bundle: Annotated[Path, typer.Argument(help="The directory to write.")],
    precision: Annotated[
        Precision,
        typer.Option(
            help="fp16 for GPUs, bf16 where fp16 overflows, fp32 for CPUs; int8 and int4 round "
            "the decoder's matrices."
        ),
    ] = Precision.fp16,
    capacity: Annotated[
        int | None,
        typer.Option(min=1, help="Most tokens of a question and its answer, picture included."),
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="Pictures of what the robot sees, by which int8 and int4 lose less; questions "
            'in a metadata.jsonl beside them: {"file_name": ..., "prompt": ..., "answer": ...}',
        ),
    ] = None,
) -> None:
    """Export a checkpoint to a bundle: graphs, weights, tokenizer and a manifest with hashes.

    Needs torch and onnx; running the bundle needs neither. The checkpoint may be larger than the
    memory: it is read tensor by tensor, and compared with the bundle layer by layer.

    Example:  molmo export assets/molmo-tiny my-bundle --precision fp32
    """
    from molmo_engine.export import export_bundle
    from molmo_engine.export_range import loudest

    verdict = export_bundle(checkpoint, bundle, precision.value, capacity, calibrate)
    size = sum(path.stat().st_size for path in bundle.rglob("*") if path.is_file())
    typer.echo(
        f"{bundle}: {size / 1e6:.1f} MB, logits within {verdict.logit_error:.1e} of torch's "
        f"({', '.join(verdict.dialects)})"
    )
    layer, share = loudest(verdict.ranges)
    typer.echo(f"Largest activation: {share:.2%} of what fp16 holds, in {layer}")
    if share > NEAR and precision is not Precision.bf16:
        typer.echo("That is close: with other pictures fp16 may overflow, bf16 will not")
    if verdict.rounding_error:
        typer.echo(
            f"The precision moves torch's own logits by {verdict.rounding_error:.1e}; "
            f"{verdict.rounding_agreement:.0%} of its tokens stay the same"
        )
    typer.echo(f'Try it: molmo ask PICTURE "Point to the red cube." --bundle {bundle}')
