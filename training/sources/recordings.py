"""Your own pictures: a folder with a file of JSON lines, one question a line.

{"image": "frames/0001.png", "question": "Is the gripper open?", "answer": "Yes."}
{"image": "frames/0001.png", "label": "red mug", "points": [{"x": 412, "y": 230.5}]}
{"image": "frames/0001.png", "label": "mugs", "points": [], "count": true}

Points are pixels of the picture; no points mean that there is none of it. With "count" they are
counted, else pointed to.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from molmo_training.records import Annotation, Marks, Record, Turn
from molmo_training.sources.columns import BOOLEAN, PATH, POINTS, TEXT, Row, SchemaError, optional
from molmo_training.sources.folders import Folder
from molmo_training.sources.source import Source


def _rows(directory: Path, split: str) -> Iterator[Row]:
    path = directory / f"{split}.jsonl"
    with path.open() as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
                yield row | {"image": str(directory / row["image"])}
            except (ValueError, KeyError, TypeError) as error:
                raise SchemaError(
                    f"{path}, line {number}: wants a JSON object with an image, "
                    f"got {line.strip()[:80]!r} ({error})"
                ) from None


def _record(rows: Sequence[Row]) -> Record:
    return Record(rows[0]["image"], tuple(_annotation(row) for row in rows))


def _annotation(row: Row) -> Annotation:
    given = {name for name, value in row.items() if value is not None}
    if given == {"image", "question", "answer"}:
        return Annotation("user_qa", (Turn(question=row["question"], answers=(row["answer"],)),))
    if given - {"count"} == {"image", "label", "points"}:
        marks = Marks(points=row["points"], label=row["label"], in_pixels=True)
        style = "point_count" if row["count"] else "pointing"
        return Annotation(style, (Turn(label=row["label"], marks=(marks,)),))
    raise SchemaError(
        "wants question and answer, or label and points (and maybe count), "
        f"got {', '.join(sorted(given - {'image'})) or 'none of them'}"
    )


RECORDINGS: dict[str, Source] = {
    "recordings": Source(
        place=Folder(
            "recordings",
            "your robot",
            "{split}.jsonl and the pictures that it names",
            _rows,
        ),
        columns={
            "image": PATH,
            "question": optional(TEXT),
            "answer": optional(TEXT),
            "label": optional(TEXT),
            "points": optional(POINTS),
            "count": optional(BOOLEAN),
        },
        record=_record,
        picture="image",
    )
}
