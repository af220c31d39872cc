"""Your own robot's pictures and questions as a task; own_lines.py says how they are written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from molmo_training.metrics_numbers import count_scores
from molmo_training.metrics_points import near_scores
from molmo_training.metrics_text import final_answer, vqa_normalised
from molmo_training.own_lines import LineError, OwnLine, read_lines
from molmo_training.tasks_example import EvalExample, Scores, Task, TaskError, chosen

NEAR = 0.05  # of the picture's width


def own_task(path: Path) -> Task:
    """The task in a JSON lines file, or in a folder with a data.jsonl."""
    try:
        examples = [_example(line) for line in read_lines(path)]
    except LineError as error:
        raise TaskError(str(error)) from error
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


def _example(line: OwnLine) -> EvalExample:
    return EvalExample(
        id=str(line.number),
        image=line.image,
        prompt=line.question,
        points=line.points,
        size=line.size,
        number=line.count,
        answers=line.answers,
    )
