"""Tables made of the files that data sets publish on sites of their own, to be fetched by hand.

Knows how a directory becomes rows, and what to say when it is not what it should be; what the
files of each set hold is in questions.py, diagrams.py and screens.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from molmo_training.sources.columns import Row, SchemaError
from molmo_training.sources.source import Table


class Rows:
    """Rows in memory, as a table."""

    def __init__(self, rows: list[Row]):
        self._rows = rows

    @property
    def column_names(self) -> list[str]:
        return sorted({name for row in self._rows[:1] for name in row})

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: int | str) -> Any:
        return [row.get(key) for row in self._rows] if isinstance(key, str) else self._rows[key]


@dataclass(frozen=True)
class Folder:
    """A data set in a directory.

    folder: how the directory is called among others
    site:   where it is fetched
    holds:  what the directory must hold, in words; {split} stands for the split
    read:   directory and split -> rows
    """

    folder: str
    site: str
    holds: str
    read: Callable[[Path, str], Iterable[Row]]

    def open(self, location: Path | None, split: str) -> Table:
        """All rows of a split; raises SchemaError that says what to put where."""
        return Rows(list(self.stream(location, split)))

    def stream(self, location: Path | None, split: str) -> Iterable[Row]:
        """The rows one after the other."""
        holds = self.holds.replace("{split}", split)
        wanted = f"Fetch it from {self.site} and put there: {holds}."
        if location is None:
            raise SchemaError(f"this set is not on the hub; name its directory. {wanted}")
        try:
            yield from self.read(location, split)
        except FileNotFoundError as error:
            raise SchemaError(f"{error.filename}: is not there. {wanted}") from None
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise SchemaError(
                f"{location}: not as published: {type(error).__name__}: {error}. {wanted}"
            ) from error


def read_json(directory: Path, pattern: str) -> Any:
    """The JSON file of a name, which may hold a * for a version."""
    found = sorted(directory.glob(pattern))
    path = found[-1] if found else directory / pattern
    return json.loads(path.read_text())


def pick(row: Mapping[str, Any], *names: str) -> Row:
    """Some columns of a row; the ones that it lacks stay away, so that the schema names them."""
    return {name: row[name] for name in names if name in row}
