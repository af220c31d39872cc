"""Asks a model the questions of a task and judges its answers; compares two models.

Knows no benchmark (see tasks.py) and no model: asking is a function from a picture and a prompt to
the text of the answer, so that torch and every engine are measured alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from molmo_model.pictures import PictureError, Rgb
from molmo_model.text import PromptError
from molmo_training.intervals import Estimate, paired, share
from molmo_training.predictions import Prediction, Predictions
from molmo_training.tasks_example import EvalExample, Examples, Score, Scores, TaskError
from molmo_training.tasks_scenes import SceneExamples, score_scene

Ask = Callable[[Rgb, str], str]
Progress = Callable[[int], None]


@dataclass
class Outcome:
    """What came out of a run.

    scores:  figures of every example that was judged, by its id
    seconds: of every answer
    refused: questions that the model could not take (too long for its engine); they score 0
    unseen:  pictures that could not be had, and why; they are not judged
    """

    scores: dict[str, Scores] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)

    @property
    def figures(self) -> dict[str, Estimate]:
        """The mean of every figure over the examples that have it."""
        return {name: share(values) for name, values in _columns(self.scores.values()).items()}

    @property
    def means(self) -> dict[str, float]:
        """The same as plain numbers."""
        return {name: round(estimate.mean, 4) for name, estimate in self.figures.items()}

    @property
    def seconds_per_example(self) -> float:
        """The mean time of an answer."""
        return sum(self.seconds) / len(self.seconds) if self.seconds else 0.0

    def minus(self, other: Outcome) -> dict[str, Estimate]:
        """How much more this one scores than another, over the examples that both answered."""
        pairs = [
            {name: value - other.scores[key][name] for name, value in scores.items()}
            for key, scores in self.scores.items()
            if key in other.scores
        ]
        return {name: paired(values) for name, values in _columns(pairs).items()}


def evaluate(
    examples: Examples,
    score: Score,
    ask: Ask | None,
    predictions: Predictions,
    progress: Progress = lambda done: None,
) -> Outcome:
    """Asks what has not been asked yet, and judges every answer.

    ask: None judges what is there already and leaves out the rest
    raises: TaskError if nothing could be judged
    """
    outcome = Outcome()
    for done, example in enumerate(examples, 1):
        answer = predictions.find(example.id, example.prompt)
        if ask and (answer is None or answer.refusal):  # another capacity may take it now
            try:
                answer = _asked(example, ask)
            except PictureError as error:
                outcome.unseen.append(str(error))
            else:
                predictions.add(answer)
        if answer:
            scores = score(answer.text, example)
            if answer.refusal:
                outcome.refused.append(answer.refusal)
                scores = dict.fromkeys(scores, 0.0)
            outcome.scores[example.id] = scores
            outcome.seconds.append(answer.seconds)
        progress(done)
    progress(len(examples))
    if not outcome.scores:
        reason = outcome.unseen[0] if outcome.unseen else "none of them has been answered"
        raise TaskError(f"of {examples.n} examples none could be judged: {reason}")
    return outcome


class Answered(Protocol):
    """What is read of an answer."""

    @property
    def text(self) -> str: ...


class Asker(Protocol):
    """The part of a Predictor that evaluation needs."""

    def ask(self, rgb: Rgb, prompt: str) -> Answered: ...


def evaluate_scenes(predictor: Asker, n: int, seed: int) -> dict[str, float | int]:
    """The plain figures of n unseen scenes, and n; see tasks_scenes.score_scene."""

    def ask(rgb: Rgb, prompt: str) -> str:
        return predictor.ask(rgb, prompt).text

    outcome = evaluate(SceneExamples(n, seed), score_scene, ask, Predictions({}))
    return {**outcome.means, "n": n}


def _asked(example: EvalExample, ask: Ask) -> Prediction:
    rgb = example.rgb()
    started_s, text, refusal = time.perf_counter(), "", ""
    try:
        text = ask(rgb, example.prompt)
    except PromptError as error:
        refusal = str(error)
    return Prediction(
        id=example.id,
        prompt=example.prompt,
        text=text,
        seconds=round(time.perf_counter() - started_s, 4),
        refusal=refusal,
    )


def _columns(rows: Iterable[Scores]) -> dict[str, list[float]]:
    columns: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    return columns
