"""Your own robot's pictures and questions as a task: a JSON lines file beside its pictures.

    {"image": "shelf/1.png", "prompt": "Point to the mug.", "points": [{"x": 266, "y": 289}]}
    {"image": "shelf/1.png", "label": "mugs", "percent": [[41.5, 60.2], [64.0, 62.5]]}
    {"image": "shelf/1.png", "label": "mugs", "points": [[266, 289], [410, 300]], "count": true}
    {"image": "shelf/2.png", "prompt": "How many mugs are there?", "count": 3}
    {"image": "shelf/2.png", "prompt": "Is the drawer open?", "answer": ["yes", "it is open"]}

points are pixels of the picture (0 is the centre of the first), percent the same in percent of it;
x to the right, y down, one per thing, [] = there is none. A label without a prompt is pointed to,
or with "count" counted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from molmo_model.pictures import open_picture
from molmo_training.metrics_numbers import count_scores
from molmo_training.metrics_points import Spot, near_scores
from molmo_training.metrics_text import final_answer, vqa_normalised
from molmo_training.tasks_example import EvalExample, Scores, Task, TaskError, chosen

NAME = "data.jsonl"
NEAR = 0.05  # of the picture's width


def own_task(path: Path) -> Task:
    """The task in a JSON lines file, or in a folder with a data.jsonl."""
    file = path / NAME if path.is_dir() else path
    if not file.is_file():
        raise TaskError(f"{file}: is not there; wanted a JSON lines file, see docs/evaluation.md")
    lines = file.read_text(encoding="utf-8").splitlines()
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    examples = [
        _example(f"{file}, line {number}", number, line, file) for number, line in numbered
    ]
    if not examples:
        raise TaskError(f"{file}: is empty")
    return Task(
        name=path.resolve().name,
        about="your own pictures and questions",
        score=score_own,
        examples=lambda data, n, seed: OwnExamples(
            tuple(examples[i] for i in chosen(len(examples), n, seed))
        ),
        max_new_tokens=192,
        max_crops=None,
    )


@dataclass(frozen=True)
class OwnExamples:
    """The lines that were drawn."""

    examples: tuple[EvalExample, ...]

    @property
    def n(self) -> int:
        return len(self.examples)

    def __len__(self) -> int:
        return len(self.examples)

    def __iter__(self) -> Iterator[EvalExample]:
        return iter(self.examples)


def score_own(text: str, example: EvalExample) -> Scores:
    """Points: one to one, within 5 % of the width. Counts: as published. Words: as VQA's."""
    if example.number is not None:
        scores = count_scores(text, example.number)
        return {"count": scores["correct"], "count_close": scores["close"]}
    if example.points is not None:
        assert example.size, example.id
        return near_scores(text, example.points, example.size, NEAR)
    said = vqa_normalised(final_answer(text))
    return {"answer": float(any(vqa_normalised(answer) == said for answer in example.answers))}


def _example(where: str, number: int, line: str, file: Path) -> EvalExample:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise TaskError(f"{where}: is no JSON: {error}") from error
    if not isinstance(row, dict) or not isinstance(row.get("image"), str):
        raise TaskError(f'{where}: wanted an object with "image", the name of a picture')
    image = file.parent / row["image"]
    try:
        truth = _truth(row, image)
        prompt = _prompt(row)
    except ValueError as error:
        raise TaskError(f"{where}: {error}") from error
    return EvalExample(id=str(number), image=image, prompt=prompt, **truth)


def _truth(row: dict[str, Any], image: Path) -> dict[str, Any]:
    """The fields of an example that say what is true."""
    given: list[str] = [name for name in ("points", "percent", "answer") if name in row]
    given = given or [name for name in ("count",) if name in row]
    if len(given) != 1:
        raise ValueError(f"wanted one of points, percent, answer, count; got {', '.join(row)}")
    if given == ["answer"]:
        return {"answers": _answers(row["answer"])}
    count = row.get("count")
    if given == ["count"]:
        if type(count) is not int or count < 0:
            raise ValueError(f"count is a whole number from 0 on, got {count!r}")
        return {"number": count}
    if count is not None and type(count) is not bool:
        raise ValueError(f"beside points count is true, to have them counted; got {count!r}")
    size = open_picture(image).shape[1::-1]  # as it is shown: EXIF may turn it
    points = _spots(row, size)
    return {"points": points, "size": size, "number": len(points) if count else None}


def _prompt(row: dict[str, Any]) -> str:
    """What is asked: the prompt, or question, as training calls it; else about the label."""
    asked, label = row.get("prompt") or row.get("question"), row.get("label")
    if asked:
        return str(asked)
    if not label:
        raise ValueError("wanted a prompt, or the label of what is pointed to or counted")
    label = str(label).lower()
    return f"How many {label} are there?" if row.get("count") else f"Point to the {label}."


def _spots(row: dict[str, Any], size: tuple[int, int]) -> tuple[Spot, ...]:
    """The points in percent."""
    in_percent = "percent" in row
    try:
        pairs = [
            (float(one["x"]), float(one["y"])) if isinstance(one, dict) else _pair(one)
            for one in row["percent" if in_percent else "points"]
        ]
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
    return tuple(((u + 0.5) / width * 100, (v + 0.5) / height * 100) for u, v in pairs)


def _pair(values: Any) -> Spot:
    x, y = values
    return float(x), float(y)


def _answers(value: Any) -> tuple[str, ...]:
    answers = value if isinstance(value, list) else [value]
    if not answers or not all(isinstance(answer, str) and answer.strip() for answer in answers):
        raise ValueError("answer is a text, or a list of texts that are right")
    return tuple(answers)
