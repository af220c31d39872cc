"""Your own robot's pictures and questions as a task: a JSON lines file beside its pictures.

    {"image": "shelf/0001.png", "prompt": "Point to the mug handle.", "points": [[41.5, 60.2]]}
    {"image": "shelf/0001.png", "label": "mugs", "pixels": [[266, 289], [410, 300]]}
    {"image": "shelf/0002.png", "prompt": "Is the drawer open?", "answer": ["yes", "it is open"]}
    {"image": "shelf/0002.png", "prompt": "How many mugs are there?", "count": 3}

points are percent of the picture (x to the right, y down, one per thing, [] = there is none),
pixels the same in pixels; a line has one of points, pixels, answer and count. With a label and no
prompt the model is asked to point to it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
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
TRUTHS = ("points", "pixels", "answer", "count")


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
    if example.points is not None:
        assert example.size, example.id
        return near_scores(text, example.points, example.size, NEAR)
    if example.number is not None:
        scores = count_scores(text, example.number)
        return {"count": scores["correct"], "count_close": scores["close"]}
    said = vqa_normalised(final_answer(text))
    return {"answer": float(any(vqa_normalised(answer) == said for answer in example.answers))}


def _example(where: str, number: int, line: str, file: Path) -> EvalExample:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise TaskError(f"{where}: is no JSON: {error}") from error
    if not isinstance(row, Mapping) or not isinstance(row.get("image"), str):
        raise TaskError(f'{where}: wanted an object with "image", the name of a picture')
    if len([name for name in TRUTHS if name in row]) != 1:
        raise TaskError(f"{where}: wanted one of {', '.join(TRUTHS)}; got {', '.join(row)}")
    if not row.get("prompt") and not row.get("label"):
        raise TaskError(f"{where}: wanted a prompt, or the label of what is pointed to")
    image = file.parent / row["image"]
    places = "points" in row or "pixels" in row
    size = open_picture(image).shape[1::-1] if places else None  # as it is shown: EXIF may turn it
    return EvalExample(
        id=str(number),
        image=image,
        prompt=row.get("prompt") or f"Point to the {str(row['label']).lower()}.",
        answers=_answers(where, row["answer"]) if "answer" in row else (),
        number=_count(where, row["count"]) if "count" in row else None,
        points=_spots(where, row, size) if size else None,
        size=size,
    )


def _spots(where: str, row: Mapping[str, Any], size: tuple[int, int]) -> tuple[Spot, ...]:
    """The points in percent; pixels are counted from the centre of the first one."""
    try:
        pairs = [(float(x), float(y)) for x, y in row.get("points", row.get("pixels"))]
    except (TypeError, ValueError):
        raise TaskError(f"{where}: points and pixels are lists of pairs: [[x, y], ...]") from None
    limits: tuple[float, float] = (100, 100)
    if "pixels" in row:
        limits = size
    if any(not (0 <= x <= limits[0] and 0 <= y <= limits[1]) for x, y in pairs):
        raise TaskError(
            f"{where}: a point lies outside of the picture: points are percent of it, pixels go "
            f"up to {size[0]} x {size[1]}"
        )
    if "points" in row:
        return tuple(pairs)
    return tuple(((u + 0.5) / size[0] * 100, (v + 0.5) / size[1] * 100) for u, v in pairs)


def _answers(where: str, value: Any) -> tuple[str, ...]:
    answers = value if isinstance(value, list) else [value]
    if not answers or not all(isinstance(answer, str) and answer.strip() for answer in answers):
        raise TaskError(f"{where}: answer is a text, or a list of texts that are right")
    return tuple(answers)


def _count(where: str, value: Any) -> int:
    if type(value) is not int or value < 0:
        raise TaskError(f"{where}: count is a whole number from 0 on, got {value!r}")
    return value
