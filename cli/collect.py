"""`molmo collect`: fetches the pictures that a data set names by URL into a store on disk."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from molmo_training.store_fetching import Report

REASONS = 8  # in the table, the most frequent ones


def collect(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SET|FILE",
            help="A data set, like pixmo_points, or a .parquet or .jsonl file with image_url.",
        ),
    ],
    store: Annotated[Path, typer.Option(file_okay=False, help="Where the pictures are kept.")],
    data: Annotated[
        Path | None, typer.Option(exists=True, help="A local copy of the set's table.")
    ] = None,
    split: Annotated[str, typer.Option(help="Of the set, as published.")] = "train",
    jobs: Annotated[int, typer.Option(min=1, help="Requests at a time.")] = 32,
    per_host: Annotated[int, typer.Option(min=1, help="Requests at a time to one host.")] = 4,
    dead_days: Annotated[
        float, typer.Option(min=0, help="How long a dead link is not tried again.")
    ] = 30.0,
    private: Annotated[
        bool, typer.Option("--private", help="Fetch from private addresses too, of your own lab.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Fetch the pictures of a data set, each once, into a store that training reads.

    Stop it whenever you like: the same command goes on, and several may run at once. Dead links
    are part of the web: the status is 0 unless there is not a single picture.

    Examples:  molmo collect pixmo_points --store pictures

    molmo collect my-links.jsonl --store pictures --jobs 64
    """
    from molmo_training.links import LinksError, read_links
    from molmo_training.store import DiskStore
    from molmo_training.store_download import Limits
    from molmo_training.store_fetching import Fetching

    try:
        remotes = read_links(source, data, split)
    except LinksError as error:
        raise typer.BadParameter(str(error), param_hint="SET|FILE") from error
    how = Fetching(
        jobs=jobs, per_host=per_host, dead_days=dead_days, limits=Limits(private=private)
    )
    warnings.filterwarnings("ignore", module="PIL")  # what it repairs; the table says enough
    try:
        with _bar(source, len(remotes)) as on_progress:
            report = DiskStore(store).fetch(remotes, how, on_progress)
    except KeyboardInterrupt:
        typer.echo("stopped; what is here is whole, and the same command goes on", err=True)
        raise typer.Exit(130) from None
    typer.echo(json.dumps(report.figures()) if as_json else _table(report))
    if remotes and not report.here + report.fetched:
        raise typer.Exit(1)


@contextmanager
def _bar(name: str, total: int) -> Iterator[Callable[[Report], None]]:
    """A progress bar on the error stream, with what a long run makes one wonder about."""
    figures = "{task.fields[rate]:.1f}/s, {task.fields[mb]:.0f} MB, {task.fields[dead]} dead"
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    rest = (TextColumn(figures), TimeRemainingColumn())
    with Progress(*columns, *rest, console=Console(stderr=True)) as bar:
        task = bar.add_task(Path(name).name, total=total, rate=0.0, mb=0.0, dead=0)

        def tell(report: Report) -> None:
            rate = report.fetched / max(report.seconds, 1e-3)
            mb = report.size / 1e6
            bar.update(task, completed=report.done, rate=rate, mb=mb, dead=report.dead)

        yield tell


def _table(report: Report) -> str:
    """The figures for people, and behind them why pictures are missing."""
    rows = {
        "pictures": report.asked,
        "here before": report.here,
        "fetched": f"{report.fetched}, {report.size / 1e6:.1f} MB in {report.seconds:.0f} s",
        "break off": report.truncated,
        "dead": f"{report.dead}, {report.known} of them known before",
        "not asked": report.refused,
        "no answer": report.silent,
    }
    lines = [f"{name:14} {value}" for name, value in rows.items() if value]
    lines += [f"{times} x {reason}" for reason, times in report.reasons.most_common(REASONS)]
    if len(report.reasons) > REASONS:
        lines.append(f"{len(report.reasons) - REASONS} other reasons: --json has them all")
    return "\n".join(lines)
