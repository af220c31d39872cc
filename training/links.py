"""The pictures of the web that a data set names: from its table, a parquet file or JSON lines.

{"image_url": "https://example.org/a.jpg", "image_sha256": "9f86d0..."}

Reads the columns image_url and image_sha256, of which the second may be missing, and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from molmo_training.records import Remote
from molmo_training.sources.columns import ANY_TEXT, TEXT, Row, check_columns, optional, read_row
from molmo_training.sources.hub import Hub
from molmo_training.sources.pixmo import PIXMO

COLUMNS = {"image_url": TEXT, "image_sha256": optional(ANY_TEXT)}


class LinksError(ValueError):
    """What names no pictures of the web."""


def read_links(source: str, data: Path | None = None, split: str = "train") -> list[Remote]:
    """Each picture once.

    source: a set's name (see sources/catalog.py), a .parquet file, or a .jsonl file
    data:   a local copy of the set; without it is asked for on the hub
    split:  of the published ones; our validation splits are parts of train
    """
    found: dict[str, Remote] = {}
    for number, row in enumerate(_rows(source, data, split)):
        read = read_row(COLUMNS, row, f"{source}: row {number}")
        remote = Remote(read["image_url"], read["image_sha256"] or "")
        if remote.url not in found or not found[remote.url].sha256:
            found[remote.url] = remote
    return list(found.values())


def _rows(source: str, data: Path | None, split: str) -> Iterable[Row]:
    if source.endswith((".jsonl", ".parquet")) and not Path(source).is_file():
        raise LinksError(f"{source}: is not there")
    if source.endswith(".jsonl"):
        return _lines(Path(source))
    if source.endswith(".parquet"):
        return Hub(source).stream_columns(Path(source), split, COLUMNS)
    places = {name: one.place for name, one in PIXMO.items() if one.picture == "image_url"}
    place = places.get(source)
    if not isinstance(place, Hub):
        raise LinksError(
            f"{source!r}: wants a .parquet or .jsonl file, or a set whose pictures are URLs: "
            f"{', '.join(places)}"
        )
    return place.stream_columns(data, split, COLUMNS)


def _lines(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
            except ValueError as error:
                row = error
            if not isinstance(row, dict):
                raise LinksError(
                    f'{path}, line {number}: wants a JSON object like {{"image_url": "https://..."}}'
                    f", got {line.strip()[:80]!r}"
                )
            check_columns(COLUMNS, row, f"{path}, line {number}")
            yield row
