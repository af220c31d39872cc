"""Opens the tables of published benchmarks, on the hub or in a folder, and finds their pictures.

The only file of the evaluation that imports `datasets`. Knows no benchmark: which columns there
are is said in tasks_published.py.
"""

from __future__ import annotations

import hashlib
import json
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from http.client import HTTPException
from pathlib import Path
from typing import Any, Protocol

from molmo_model.pictures import PictureError, Rgb, open_picture
from molmo_training.tasks_example import EvalExample, Image, TaskError, chosen

FETCH_S = 30  # for one picture; a dead server would stop the whole run

Row = Mapping[str, Any]


class Table(Protocol):
    """Rows that are read when they are asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Any: ...


@dataclass(frozen=True)
class Pictures:
    """Finds the picture that a row names: embedded, a file of the folder, or of the web."""

    folder: Path | None

    def find(self, value: Any) -> Image:
        """value: what `datasets` keeps of an undecoded picture, or a file's name in the folder."""
        if isinstance(value, Mapping):
            if value.get("bytes"):
                return bytes(value["bytes"])
            value = value.get("path")
        if not isinstance(value, str) or not value:
            raise TaskError(f"a row has no picture but {value!r}")
        return self.folder / value if self.folder else Path(value)

    def of_web(self, url: str, sha256: str | None) -> Image:
        """A file in images/ of the folder, named by the SHA-256 of the URL; else it is fetched."""
        name = hashlib.sha256(url.encode()).hexdigest()
        kept = self.folder / "images" / name if self.folder else None
        return kept if kept and kept.exists() else lambda: _fetched(url, sha256)


Read = Callable[[Row, Pictures], EvalExample | None]


@dataclass(frozen=True)
class TableExamples:
    """Some rows of a table as examples; their number is their id; a reader may pass one over."""

    table: Table
    indices: tuple[int, ...]
    read: Read
    pictures: Pictures
    where: str

    @property
    def n(self) -> int:
        return len(self.indices)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[EvalExample]:
        for index in self.indices:
            try:
                example = self.read(self.table[index], self.pictures)
            except (LookupError, AttributeError, TypeError, ValueError) as error:
                wanted = f"no column {error}" if isinstance(error, KeyError) else str(error)
                raise TaskError(f"{self.where}, row {index}: {wanted}") from error
            if example is not None:
                yield replace(example, id=str(index))


@dataclass(frozen=True, kw_only=True)
class Hub:
    """A benchmark on the hub, and its examples.

    has_parts: it is several tables, of which all are wanted
    revision:  which state of it; some are readable only as the hub converted them
    """

    id: str
    read: Read
    split: str = "test"
    has_parts: bool = False
    revision: str | None = None

    def __call__(self, data: Path | None, n: int | None, seed: int) -> TableExamples:
        """See Task.examples."""
        table = self._in(data) if data else self._published()
        indices = tuple(chosen(len(table), n, seed).tolist())
        return TableExamples(table, indices, self.read, Pictures(data), str(data or self.id))

    def _in(self, folder: Path) -> Table:
        table = local_table(folder, self.split)
        if table is None:
            revision = f" --revision {self.revision}" if self.revision else ""
            raise TaskError(
                f"{folder}: no {self.split}-*.parquet is in it. It should be a copy of {self.id}: "
                f"hf download {self.id} --repo-type dataset{revision} --local-dir {folder}"
            )
        return table

    def _published(self) -> Table:
        import datasets

        try:
            parts = datasets.get_dataset_config_names(self.id) if self.has_parts else [None]
            tables = [
                datasets.load_dataset(self.id, part, split=self.split, revision=self.revision)
                for part in parts
            ]
        except (OSError, RuntimeError, ValueError) as error:
            raise TaskError(
                f"{self.id}: cannot be read from the hub: {error}. Without a network, name a "
                "folder with a copy of it: --data DIR"
            ) from error
        return _undecoded(datasets.concatenate_datasets(tables))


@dataclass(frozen=True, kw_only=True)
class Files:
    """A benchmark that its authors offer as files, and its examples.

    rows: reads them from the folder; needs: what has to lie in the folder, and where to get it
    """

    rows: Callable[[Path], Table]
    read: Read
    needs: str

    def __call__(self, data: Path | None, n: int | None, seed: int) -> TableExamples:
        """See Task.examples."""
        if data is None:
            raise TaskError(f"this task needs --data DIR with {self.needs}")
        try:
            rows = self.rows(data)
        except FileNotFoundError as error:
            raise TaskError(f"{error.filename}: is not there. Wanted: {self.needs}") from error
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise TaskError(f"{data}: cannot be read: {error!r}. Wanted: {self.needs}") from error
        indices = tuple(chosen(len(rows), n, seed).tolist())
        return TableExamples(rows, indices, self.read, Pictures(data), str(data))


def local_table(folder: Path, split: str) -> Any | None:
    """A split in a copy of the hub's files, or what `datasets` saved; None where there is none.

    Its files are SPLIT-00000-of-00002.parquet, or SPLIT/0000.parquet as the hub converts.
    """
    import datasets

    if (folder / "state.json").exists():
        return _undecoded(datasets.load_from_disk(str(folder)))
    files = sorted(
        str(path)
        for path in folder.rglob("*.parquet")
        if path.stem.partition("-")[0] == split or path.parent.name == split
    )
    if not files:
        return None
    return _undecoded(datasets.load_dataset("parquet", data_files=files, split="train"))


def _undecoded(table: Any) -> Any:
    """Pictures stay bytes: molmo_model.pictures decodes them, as it does on the robot."""
    import datasets

    for name, feature in table.features.items():
        if isinstance(feature, datasets.Image):
            table = table.cast_column(name, datasets.Image(decode=False))
    return table


def _fetched(url: str, sha256: str | None) -> Rgb:
    if not url.startswith(("http://", "https://")):
        raise PictureError(f"{url}: only http and https are fetched")
    try:
        with urllib.request.urlopen(url, timeout=FETCH_S) as answer:
            data = answer.read()
    except (OSError, HTTPException) as error:
        raise PictureError(f"{url}: cannot be fetched: {error}") from error
    if sha256 and hashlib.sha256(data).hexdigest() != sha256:
        raise PictureError(f"{url}: is another file than the data set was made of")
    return open_picture(data)
