"""All data sets by the names that mixtures call them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from molmo_training.sources.academic import ACADEMIC
from molmo_training.sources.columns import SchemaError
from molmo_training.sources.diagrams import DIAGRAMS
from molmo_training.sources.my_data import MY_DATA
from molmo_training.sources.pixmo import PIXMO
from molmo_training.sources.questions import QUESTIONS
from molmo_training.sources.screens import SCREENS
from molmo_training.sources.source import RecordSet, Source, open_records

SOURCES: dict[str, Source] = {
    **PIXMO,
    **ACADEMIC,
    **QUESTIONS,
    **DIAGRAMS,
    **SCREENS,
    **MY_DATA,
}


def find_source(name: str) -> Source:
    """The set of a name; raises SchemaError that lists all names."""
    if name not in SOURCES:
        raise SchemaError(f"no data set is called {name!r}; there are: {', '.join(SOURCES)}")
    return SOURCES[name]


def open_set(
    name: str,
    location: Path | None = None,
    split: str = "train",
    *,
    held_out: int | None = None,
    leave_out: Collection[str] = (),
) -> RecordSet:
    """Opens a split of a set by its name; the rest is that of open_records."""
    return open_records(
        name, find_source(name), location, split, held_out=held_out, leave_out=leave_out
    )


def open_sets(
    names: Iterable[str],
    root: Path | None = None,
    split: str = "train",
    *,
    leave_out: Collection[str] = (),
) -> dict[str, RecordSet]:
    """Opens sets by their names, from the hub or from the local copies in a directory.

    root: holds one directory per published set, called as on the hub (docs/data.md lists them)
    """
    places = {name: root and root / find_source(name).place.folder for name in names}
    return {name: open_set(name, at, split, leave_out=leave_out) for name, at in places.items()}
