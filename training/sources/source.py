"""A published data set as a sequence of records: opened, checked, grouped by picture, split.

Knows no columns (see pixmo.py, academic.py, folders.py), decodes no picture, and reads rows only
when their record is asked for: a table stays on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from molmo_training.records import Record
from molmo_training.sources.columns import Column, Row, SchemaError, check_columns, read_row

SPLIT_SEED = 96817  # of PixMo, as published
Indices = npt.NDArray[np.int64]
_PART = 1000  # rows


class Table(Protocol):
    """Rows, of which one or a whole column can be read."""

    @property
    def column_names(self) -> list[str]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, key: Any) -> Any: ...


class Place(Protocol):
    """Where a data set is published, and how its table is opened there or in a local copy.

    folder: of its local copy, among those of other sets
    """

    @property
    def folder(self) -> str: ...

    def open(self, location: Path | None, split: str) -> Table: ...

    def stream(self, location: Path | None, split: str) -> Iterable[Row]: ...


@dataclass(frozen=True, kw_only=True)
class Source:
    """A data set.

    record:   makes a record of the rows of one picture
    picture:  the column that names the picture; empty where the picture is in the row
    grouped:  rows that name one picture make one record
    keep:     a column, and the values with which a row is kept
    held_out: pictures of the published train split that are our validation split, drawn with
              split_seed
    halves:   a picture with several rows makes two records
    splits:   our name of a split -> the published one, where they differ
    """

    place: Place
    columns: Mapping[str, Column]
    record: Callable[[Sequence[Row]], Record]
    picture: str = ""
    grouped: bool = True
    keep: tuple[str, Callable[[Any], bool]] | None = None
    held_out: int = 0
    split_seed: int = SPLIT_SEED
    halves: bool = False
    splits: Mapping[str, str] = field(default_factory=dict)

    def published_split(self, split: str) -> str:
        """The split to open: what is held out comes from the train split."""
        if self.held_out and split not in ("train", "validation"):
            raise SchemaError(f"there is no split {split!r}: it has train and validation")
        return "train" if self.held_out else self.splits.get(split, split)


class RecordSet(Sequence[Record]):
    """The records of one split of a data set, in the order of its table."""

    def __init__(self, name: str, source: Source, table: Table, groups: Sequence[Indices]):
        """groups: the rows of each record."""
        self.name, self._source = name, source
        self._table, self._groups = table, groups

    def __len__(self) -> int:
        return len(self._groups)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        numbers = [int(number) for number in self._groups[index]]
        rows = [
            read_row(self._source.columns, self._table[number], f"{self.name}: row {number}")
            for number in numbers
        ]
        return _record(self._source, rows, numbers, self.name)


def open_records(
    name: str,
    source: Source,
    location: Path | None = None,
    split: str = "train",
    *,
    held_out: int | None = None,
    leave_out: Collection[str] = (),
) -> RecordSet:
    """Opens a split of a data set.

    location:  a local copy: a directory, or a parquet file; None asks the place of publication
    held_out:  another number of pictures for the validation split than the published one
    leave_out: pictures (URLs) to do without: dead links, pictures of an evaluation set
    """
    table = source.place.open(location, source.published_split(split))
    where = f"{name} ({location or 'as published'}, {split})"
    check_columns(source.columns, table.column_names, where)
    groups = _groups(source, table, leave_out)
    if source.held_out:
        count = source.held_out if held_out is None else held_out
        groups = _split(groups, count, split, source.split_seed, where)
    if source.halves:
        groups = [half for rows in groups for half in _halves(rows)]
    if not len(groups):
        raise SchemaError(f"{where}: no picture in it; is this the right split?")
    first = int(groups[0][0])  # a column of another type is told now, not when training reads it
    read_row(source.columns, table[first], f"{name}: row {first}")
    return RecordSet(name, source, table, groups)


def stream_records(
    name: str, source: Source, location: Path | None = None, split: str = "train"
) -> Iterator[Record]:
    """The records of a published split one after the other, without a copy on disk.

    Only rows that follow each other share a record, and nothing is held out: that needs the whole
    table. For looking at data and for single passes; a mixture needs open_records.
    """
    grouped = source.grouped and source.picture
    rows = enumerate(source.place.stream(location, source.splits.get(split, split)))
    read = ((number, _checked(source, row, f"{name}: row {number}")) for number, row in rows)
    kept = ((number, row) for number, row in read if _is_kept(source, row))
    for _, same in groupby(kept, key=lambda one: one[1][grouped] if grouped else one[0]):
        numbers, together = zip(*same, strict=True)
        yield _record(source, together, numbers, name)


def _checked(source: Source, row: Row, where: str) -> Row:
    check_columns(source.columns, row, where)
    return read_row(source.columns, row, where)


def _record(source: Source, rows: Sequence[Row], numbers: Sequence[int], name: str) -> Record:
    """The record of some rows; when it cannot be made, the row at fault is named."""
    try:
        return source.record(rows)
    except SchemaError:
        for number, row in zip(numbers, rows, strict=True):
            try:
                source.record([row])
            except SchemaError as error:
                raise SchemaError(f"{name}: row {number}: {error}") from None
        raise


def _is_kept(source: Source, row: Row) -> bool:
    return source.keep is None or source.keep[1](row[source.keep[0]])


def _groups(source: Source, table: Table, leave_out: Collection[str]) -> Sequence[Indices]:
    """The rows of each picture, in the order in which pictures first appear."""
    kept = np.ones(len(table), bool)
    if source.keep is not None:
        column, accepts = source.keep
        kept &= np.fromiter((accepts(v) for v in _values(table, column)), bool, len(table))
    names = list(_values(table, source.picture)) if source.picture else []
    if leave_out and names:
        out = frozenset(leave_out)
        kept &= np.fromiter((name not in out for name in names), bool, len(table))
    if not (names and source.grouped):
        return list(np.flatnonzero(kept)[:, None])
    found: dict[str, list[int]] = {}
    for index in np.flatnonzero(kept):
        found.setdefault(names[index], []).append(int(index))
    return [np.array(rows) for rows in found.values()]


def _values(table: Table, column: str) -> Iterator[Any]:
    """A column; in parts, as row by row is slow and all at once is much when it holds pictures."""
    values = table[column]
    for start in range(0, len(table), _PART):
        yield from values[start : start + _PART]


def _split(
    groups: Sequence[Indices], count: int, split: str, seed: int, where: str
) -> Sequence[Indices]:
    """The pictures of our split: `count` random ones are the validation split."""
    if count >= len(groups):
        raise SchemaError(
            f"{where}: has {len(groups)} pictures, of which {count} are to be held out. "
            "Say with held_out how many of so few."
        )
    order = np.random.default_rng(seed).permutation(len(groups))
    chosen = np.sort(order[:count] if split == "validation" else order[count:])
    return [groups[i] for i in chosen]


def _halves(rows: Indices) -> list[Indices]:
    middle = (len(rows) + 1) // 2
    return [half for half in (rows[:middle], rows[middle:]) if len(half)]
