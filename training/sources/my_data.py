"""Your own pictures as a data set; own_lines.py says how they are written.

A split is a file of its name beside data.jsonl, which is the train split; a file may also be named
itself. All lines are checked as the set is opened.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from molmo_training.own_lines import LineError, OwnLine, parse_row, read_lines
from molmo_training.records import Annotation, Marks, Record, Turn
from molmo_training.sources.columns import PATH, Column, Row, SchemaError
from molmo_training.sources.folders import Rows
from molmo_training.sources.source import Source, Table

# Prompts that name their label; of others it is asked for.
_NAMING = (
    re.compile(r"point (?:to|at) (?:the )?(?P<label>[^.?!]+)\.?", re.IGNORECASE),
    re.compile(r"how many (?P<label>[^.?!]+) are there\?", re.IGNORECASE),
)


@dataclass(frozen=True)
class OwnFolder:
    """A folder of your own, or one of its files."""

    folder: str = ""  # the data directory is the set

    def open(self, location: Path | None, split: str) -> Table:
        """All lines of a split; raises SchemaError that names a bad one."""
        return Rows(list(self.stream(location, split)))

    def stream(self, location: Path | None, split: str) -> Iterable[Row]:
        """The lines one after the other."""
        if location is None:
            raise SchemaError(
                "your own data are not on the hub: name their folder, or the JSON lines file in it"
            )
        file = location if location.is_file() else location / f"{split}.jsonl"
        try:
            lines = read_lines(file)
        except LineError as error:
            raise SchemaError(str(error)) from error
        for line in lines:
            try:
                annotation = _annotation(line)
            except ValueError as error:
                raise SchemaError(f"{line.where}: {error}") from error
            yield {"image": str(line.image), "annotation": annotation}


def check_row(row: dict[str, Any], size: tuple[int, int]) -> None:
    """Raises ValueError for a row that nothing can be learned from.

    size: width and height of its picture
    """
    line = parse_row(row, size)
    if line:
        _annotation(line)


def _annotation(line: OwnLine) -> Annotation:
    """How a line is learned.

    A number without points is learned as words, as in the published sets: models count by
    pointing, and are asked not to where they cannot learn it.
    """
    if line.points is None:
        answers = line.answers or (f"{line.count}.",)
        return Annotation("user_qa", (Turn(question=line.question, answers=answers),))
    label = line.label or _named(line.prompt)
    if line.points and not label:
        raise ValueError(
            f"wanted a label beside the prompt {line.prompt!r}, what the points are called in the "
            'answer: {"label": "mug", ...}'
        )
    style = "pointing" if line.count is None else "point_count"
    marks = Marks(points=line.points, label=label)
    return Annotation(style, (Turn(question=line.prompt, label=label, marks=(marks,)),))


def _named(prompt: str) -> str:
    """The label that a plain prompt names; empty where the prompt is not plain."""
    found = next(filter(None, (pattern.fullmatch(prompt) for pattern in _NAMING)), None)
    return found["label"] if found else ""


def _record(rows: Sequence[Row]) -> Record:
    return Record(rows[0]["image"], tuple(row["annotation"] for row in rows))


MY_DATA: dict[str, Source] = {
    "my-data": Source(
        place=OwnFolder(),
        columns={"image": PATH, "annotation": Column("a checked line", lambda line: line)},
        record=_record,
        picture="image",
        splits={"train": "data"},
    )
}
