"""All data sets by the names that mixtures call them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from molmo_training.sources.academic import ACADEMIC
from molmo_training.sources.columns import SchemaError
from molmo_training.sources.diagrams import DIAGRAMS
from molmo_training.sources.pixmo import PIXMO
from molmo_training.sources.questions import QUESTIONS
from molmo_training.sources.screens import SCREENS
from molmo_training.sources.source import RecordSet, Source, open_records

SOURCES: dict[str, Source] = {**PIXMO, **ACADEMIC, **QUESTIONS, **DIAGRAMS, **SCREENS}


def open_set(
    name: str,
    location: Path | None = None,
    split: str = "train",
    *,
    held_out: int | None = None,
    leave_out: Collection[str] = (),
) -> RecordSet:
    """Opens a split of a set by its name; the rest is that of open_records."""
    if name not in SOURCES:
        raise SchemaError(f"no data set is called {name!r}; there are: {', '.join(SOURCES)}")
    return open_records(
        name, SOURCES[name], location, split, held_out=held_out, leave_out=leave_out
    )
