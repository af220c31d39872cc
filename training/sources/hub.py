"""Opens tables with the `datasets` library: from the hub, a directory, parquet files, a stream.

The only file that imports it. Pictures in tables stay undecoded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets

from molmo_training.sources.columns import Column, Row, SchemaError, check_columns
from molmo_training.sources.source import Table

_PART = 1000  # rows that are read together


@dataclass(frozen=True)
class Hub:
    """A data set of the hub.

    config:   which of its tables, where there are several
    revision: which state of it; some are only readable as the hub converted them
    """

    id: str
    config: str | None = None
    revision: str | None = None

    @property
    def folder(self) -> str:
        return self.id.rsplit("/")[-1]

    def open(self, location: Path | None, split: str) -> Table:
        """The table, kept on disk by the library. See open_records for location."""
        return _undecoded(self._load(location, split, streaming=False))

    def stream(self, location: Path | None, split: str) -> Iterable[Row]:
        """The rows one after the other."""
        return _undecoded(self._load(location, split, streaming=True))

    def stream_columns(
        self, location: Path | None, split: str, columns: Mapping[str, Column]
    ) -> Iterator[Row]:
        """The rows with some of their columns only, much faster than whole rows."""
        table = self._load(location, split, streaming=True)
        names = table.column_names or list(columns)  # some hubs do not say them beforehand
        check_columns(columns, names, self.id)
        kept = [name for name in columns if name in names]
        for part in table.select_columns(kept).iter(_PART):
            for values in zip(*(part[name] for name in kept), strict=True):
                yield dict(zip(kept, values, strict=True))

    def _load(self, location: Path | None, split: str, *, streaming: bool) -> Any:
        if location is None:
            return datasets.load_dataset(
                self.id, self.config, split=split, revision=self.revision, streaming=streaming
            )
        if not location.exists():
            raise SchemaError(
                f"{location}: is not there. It should be a copy of {self.id}, made for instance "
                f"by: hf download {self.id} --repo-type dataset --local-dir {location}"
            )
        for saved in (location, location / split):
            if (saved / "state.json").exists():
                return datasets.load_from_disk(str(saved))
        files = [str(path) for path in self._parquet_files(location, split)]
        return datasets.load_dataset(
            "parquet", data_files={split: files}, split=split, streaming=streaming
        )

    def _parquet_files(self, location: Path, split: str) -> list[Path]:
        """The files of a split: DIR/[config/][data/]SPLIT-*.parquet, as the hub lays them out."""
        if location.is_file():
            return [location]
        base = location / self.config if self.config else location
        for folder, pattern in (
            (base / "data", f"{split}*.parquet"),
            (base, f"{split}*.parquet"),
            (base / split, "*.parquet"),
        ):
            if found := sorted(folder.glob(pattern)):
                return found
        raise SchemaError(
            f"{location}: has no {split}*.parquet, neither there nor in data/"
            + (f" nor under {self.config}/" if self.config else "")
            + f". It should be a copy of {self.id}."
        )


def _undecoded(table: Any) -> Any:
    for name, feature in (table.features or {}).items():
        if isinstance(feature, datasets.Image):
            table = table.cast_column(name, datasets.Image(decode=False))
    return table
