"""`molmo build`: compiles the graphs of a bundle with TensorRT."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from molmo_cli.progress import progress_bar

if TYPE_CHECKING:
    from molmo_engine.build import Order


class Weights(str, Enum):
    """Where a plan has its weights."""

    external = "external"
    embedded = "embedded"


class Library(str, Enum):
    """What compiles."""

    tensorrt = "tensorrt"
    tensorrt_rtx = "tensorrt_rtx"


def build(
    bundle: Annotated[
        Path, typer.Argument(exists=True, file_okay=False, help="An exported model.")
    ],
    weights: Annotated[
        Weights,
        typer.Option(
            help="external: bound when the plan runs, compiling takes seconds and 0.6 GB; "
            "embedded: copied into the plan, compiling takes three times their memory."
        ),
    ] = Weights.external,
    architecture: Annotated[
        str | None,
        typer.Option(help="The GPU to build for, such as SM89; this machine's when not given."),
    ] = None,
    library: Annotated[
        Library | None,
        typer.Option(help="TensorRT, or TensorRT-RTX; the first that is there when not given."),
    ] = None,
) -> None:
    """Compile a bundle's graphs with TensorRT and keep the plans in the bundle.

    Run it on the robot itself: a plan runs on the kind of GPU and the version of TensorRT that it
    was built for. TensorRT-RTX can build for any RTX GPU, on a machine without one as well.

    Examples:  molmo build my-bundle

    molmo build my-bundle --library tensorrt_rtx --architecture SM89
    """
    from molmo_engine import build as builder

    wanted = library.value if library else None
    order = builder.order(bundle, wanted, architecture, weights.value)
    typer.echo(_announcement(order))
    total = len(order.graphs)
    parts = [graph.part for graph in order.graphs]
    with progress_bar("Compiling", total) as done:
        found = builder.build(order, lambda part, share: done(parts.index(part) + share))
    for one in found:
        typer.echo(f"{one.plan.file}: {one.size / 1e6:.1f} MB in {one.seconds:.1f} s")


def _announcement(order: Order) -> str:
    """What is built, and what that and running it will take."""
    manifest = order.bundle.manifest
    return (
        f"{manifest.model_id}, {manifest.precision}, {order.weights} weights, for "
        f"{order.architecture} by {order.library.builder}\n"
        f"Compiling takes about {order.building / 1e9:.1f} GB of this machine's memory; the plans "
        f"will take about {order.running} of the GPU's"
    )
