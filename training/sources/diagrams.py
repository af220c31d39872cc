"""AI2D: multiple choice about diagrams, from the files of its authors.

Some questions ask which letter stands for a thing. Their letters are drawn over the diagram's own
labels, in two variants: opaque boxes hide the label, transparent ones let it show.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from molmo_model.pictures import Rgb, open_picture
from molmo_training.records import Annotation, Picture, Record, Turn
from molmo_training.sources.columns import (
    ANY_TEXT,
    INTEGER,
    LETTERS,
    PATH,
    TEXT,
    TEXTS,
    Row,
    SchemaError,
)
from molmo_training.sources.folders import Folder, pick
from molmo_training.sources.source import Source

Letter = tuple[str, tuple[float, float, float, float]]  # and its box: left, top, right, bottom
PLAIN, OPAQUE, TRANSPARENT = "", "opaque", "transparent"


def draw_letters(path: Path, letters: Sequence[Letter], variant: str) -> Rgb:
    """The diagram with letters in boxes over its labels."""
    picture = Image.fromarray(open_picture(path))
    draw = ImageDraw.Draw(picture)
    for letter, (left, top, right, bottom) in letters:
        box = (min(left, right), min(top, bottom), max(left, right), max(top, bottom))
        draw.rectangle(box, fill="white" if variant == OPAQUE else None, outline="black")
        font = ImageFont.load_default(size=max(8.0, (box[3] - box[1]) * 0.8))
        middle = ((left + right) / 2, (top + bottom) / 2)
        draw.text(middle, letter, fill="black", font=font, anchor="mm")
    return np.array(picture)


def _rows(directory: Path, split: str) -> Iterator[Row]:
    """Questions in the order of the pictures' names; the test split is listed in a file."""
    listed = (directory / "ai2d_test_ids.csv").read_text().split()
    test = {name.strip('",') for name in listed}
    files = sorted((directory / "questions").glob("*.json"))
    if not files:
        raise FileNotFoundError(2, "no questions", str(directory / "questions" / "*.json"))
    for file in files:
        name = file.name.removesuffix(".json")
        if (name.removesuffix(".png") in test) == (split == "test"):
            yield from _rows_about(directory, name, json.loads(file.read_text()))


def _rows_about(directory: Path, name: str, asked: dict[str, Any]) -> Iterator[Row]:
    image = str(directory / "images" / name)
    for question, one in asked["questions"].items():
        row = {"question": question, "image": image, "letters": []}
        row |= pick(one, "answerTexts", "correctAnswer")
        if not one["abcLabel"]:
            yield row | {"variant": PLAIN, "shown": image}
            continue
        letters = _letters(directory / "annotations" / f"{name}.json")
        for variant in (OPAQUE, TRANSPARENT):
            shown = f"{image}, {variant}"
            yield row | {"variant": variant, "shown": shown, "letters": letters}


def _letters(path: Path) -> list[Letter]:
    labels = json.loads(path.read_text())["text"].values()
    return [
        (str(label["replacementText"]), (*label["rectangle"][0], *label["rectangle"][1]))
        for label in labels
    ]


def _record(rows: Sequence[Row]) -> Record:
    first = rows[0]
    picture: Picture = first["image"]
    if first["variant"] != PLAIN:
        assert isinstance(picture.source, Path), picture.source
        drawn = partial(draw_letters, picture.source, first["letters"], first["variant"])
        picture = Picture(drawn)
    return Record(picture, tuple(_annotation(row) for row in rows))


def _annotation(row: Row) -> Annotation:
    """Letters of the diagram are options without letters of their own, answered as they are."""
    options, right = row["answerTexts"], row["correctAnswer"]
    if not 0 <= right < len(options):
        raise SchemaError(
            f"column 'correctAnswer': wants the number of one of {len(options)} answers, "
            f"got {right}"
        )
    if row["variant"] == PLAIN:
        style, answer = "ai2_diagram", chr(ord("A") + right)
    else:
        style, answer = "ai2_diagram_no_letter", options[right]
    return Annotation(style, (Turn(question=row["question"], options=options, answers=(answer,)),))


DIAGRAMS: dict[str, Source] = {
    "ai2_diagram": Source(
        place=Folder(
            "ai2d",
            "prior.allenai.org/projects/diagram-understanding",
            "ai2d_test_ids.csv and the folders questions/, annotations/ and images/",
            _rows,
        ),
        columns={
            "image": PATH,
            "question": TEXT,
            "answerTexts": TEXTS,
            "correctAnswer": INTEGER,
            "variant": ANY_TEXT,
            "shown": TEXT,
            "letters": LETTERS,
        },
        record=_record,
        picture="shown",
    )
}
