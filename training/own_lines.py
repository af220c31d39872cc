"""Reads your own pictures and questions: a JSON lines file beside its pictures, a question a line.

    {"image": "shelf/1.png", "prompt": "Point to the mug.", "points": [{"x": 266, "y": 289}]}
    {"image": "shelf/1.png", "label": "mugs", "percent": [[41.5, 60.2], [64.0, 62.5]]}
    {"image": "shelf/1.png", "label": "mugs", "points": [[266, 289], [410, 300]], "count": true}
    {"image": "shelf/2.png", "prompt": "How many mugs are there?", "count": 3}
    {"image": "shelf/2.png", "prompt": "Is the drawer open?", "answer": ["yes", "it is open"]}
    {"image": "shelf/3.png", "label": "mug", "points": null}

points are pixels of the picture (0 is the centre of the first), percent the same in percent of it;
x to the right, y down, one per thing, [] = there is none, null = nobody has labelled it yet. A
label without a prompt is pointed to, or with "count" counted. Training (sources/my_data.py) and
evaluation (tasks_own.py) read the same lines; other keys than these are yours.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from molmo_model.pictures import picture_size
from molmo_training.metrics_points import Spot

log = logging.getLogger(__name__)
NAME = "data.jsonl"
TRUTHS = ("points", "percent", "answer")  # what a line may say is true, beside count
Row = dict[str, Any]
Size = tuple[int, int]  # width and height, pixels


class LineError(ValueError):
    """A file of own pictures and questions that is not what it should be."""


@dataclass(frozen=True, kw_only=True)
class OwnLine:
    """A question about a picture, and what is true: points, a number, or words.

    prompt:  as it is written; empty where the label is asked for
    label:   what is pointed to or counted; may be empty where there is a prompt
    points:  percent; None where the question is not about points
    count:   of things; None where they are not counted
    answers: texts, each of which is right
    where:   file and line, for what is said about it
    number:  of the line in its file, from 1
    """

    size: Size
    prompt: str
    label: str
    points: tuple[Spot, ...] | None = None
    count: int | None = None
    answers: tuple[str, ...] = ()
    image: Path = Path()
    where: str = ""
    number: int = 0

    @property
    def question(self) -> str:
        """What is asked: the prompt, else about the label."""
        if self.prompt:
            return self.prompt
        label = self.label.lower()
        return f"Point to the {label}." if self.count is None else f"How many {label} are there?"


def read_lines(path: Path) -> list[OwnLine]:
    """The labelled lines of a JSON lines file, or of the data.jsonl in a folder.

    raises: LineError that names the line
    """
    file = path / NAME if path.is_dir() else path
    if not file.is_file():
        raise LineError(f"{file}: is not there; wanted a JSON lines file, see docs/finetune.md")
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise LineError(f"{file}: is no text in UTF-8: {error}") from error
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not numbered:
        raise LineError(f"{file}: is empty")
    sizes = cache(picture_size)  # many lines share a picture
    read = [_line(file, number, line, sizes) for number, line in numbered]
    labelled = [line for line in read if line is not None]
    if not labelled:
        raise LineError(
            f"{file}: none of its {len(read)} lines is labelled yet: write what is true in place "
            "of null"
        )
    if len(labelled) < len(read):
        log.warning(
            "%s: %d of %d lines are not labelled yet (null) and are left out",
            *(file, len(read) - len(labelled), len(read)),
        )
    return labelled


def parse_row(row: Row, size: Size) -> OwnLine | None:
    """What a row says about a picture of this size; None for one that is not labelled yet.

    raises: ValueError
    """
    truth, (prompt, label) = _truth(row, size), _asked(row)
    if truth is None:
        return None
    return OwnLine(size=size, prompt=prompt, label=label, **truth)


def _line(file: Path, number: int, line: str, size_of: Callable[[Path], Size]) -> OwnLine | None:
    """A checked line; None for one that is not labelled yet."""
    where = f"{file}, line {number}"
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise LineError(f"{where}: is no JSON: {error}") from error
    if not isinstance(row, dict) or not isinstance(row.get("image"), str):
        raise LineError(f'{where}: wanted an object with "image", the name of a picture')
    image = file.parent / row["image"]
    try:
        parsed = parse_row(row, size_of(image))
    except ValueError as error:
        raise LineError(f"{where}: {error}") from error
    return parsed and replace(parsed, where=where, number=number, image=image)


def _truth(row: Row, size: Size) -> dict[str, Any] | None:
    """The fields of a line that say what is true; None where that is null."""
    given: list[str] = [name for name in TRUTHS if name in row]
    given = given or [name for name in ("count",) if name in row]
    if len(given) != 1:
        raise ValueError(f"wanted one of points, percent, answer, count; got {', '.join(row)}")
    (what,) = given
    if row[what] is None:
        return None
    if what == "answer":
        return {"answers": _answers(row["answer"])}
    count = row.get("count")
    if what == "count":
        if type(count) is not int or count < 0:
            raise ValueError(f"count is a whole number from 0 on, got {count!r}")
        return {"count": count}
    if count is not None and type(count) is not bool:
        raise ValueError(f"beside points count is true, to have them counted; got {count!r}")
    points = _spots(row[what], size, in_percent=what == "percent")
    return {"points": points, "count": len(points) if count else None}


def _asked(row: Row) -> tuple[str, str]:
    """Prompt and label; "question" is another word for the prompt."""
    prompt = row["prompt"] if row.get("prompt") is not None else row.get("question")
    label = row.get("label")
    for name, text in (("prompt", prompt), ("label", label)):
        if text is not None and not isinstance(text, str):
            raise ValueError(f"{name} is a text, got {text!r}")
    prompt, label = (prompt or "").strip(), (label or "").strip()
    if not prompt and (not label or "answer" in row):
        raise ValueError(
            "wanted a prompt, or the label of what is pointed to or counted; an answer wants a "
            "prompt"
        )
    return prompt, label


def _spots(value: Any, size: Size, *, in_percent: bool) -> tuple[Spot, ...]:
    """The points in percent."""
    try:
        pairs = [_pair(one) for one in value]
    except (KeyError, TypeError, ValueError):
        raise ValueError('points are a list of [x, y] or of {"x": x, "y": y}') from None
    width, height = (100, 100) if in_percent else size
    for x, y in pairs:
        if not (0 <= x <= width and 0 <= y <= height):
            raise ValueError(
                f"the point ({x:g}, {y:g}) lies outside of the picture of {size[0]} x {size[1]}: "
                "points are pixels, and percent goes up to 100"
            )
    if in_percent:
        return tuple(pairs)
    return tuple(
        (min((u + 0.5) / width * 100, 100.0), min((v + 0.5) / height * 100, 100.0))
        for u, v in pairs
    )


def _pair(values: Any) -> Spot:
    x, y = (values["x"], values["y"]) if isinstance(values, dict) else values
    return float(x), float(y)


def _answers(value: Any) -> tuple[str, ...]:
    answers = value if isinstance(value, list) else [value]
    if not answers or not all(isinstance(answer, str) and answer.strip() for answer in answers):
        raise ValueError("answer is a text, or a list of texts that are right")
    return tuple(answers)
