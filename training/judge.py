"""Judges the model of a run now and then, and keeps some answers to look at.

Asks through the network itself, greedily, with the crops it is trained on. Knows no run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from molmo_model.image import prepare_image
from molmo_model.molmo import Molmo, generate
from molmo_model.pictures import Rgb
from molmo_model.points import parse_points
from molmo_model.text import Prompter
from molmo_training.evaluate import evaluate
from molmo_training.predictions import Predictions
from molmo_training.tasks_example import EvalExample, Examples, Score

SAMPLES = 8
TRUE_COLOUR, SAID_COLOUR = (40, 200, 80), (230, 40, 120)


@dataclass(frozen=True)
class Sample:
    """An answer, and the picture with true points as crosses, predicted ones as circles."""

    prompt: str
    answer: str
    picture: Rgb


@dataclass(frozen=True)
class Verdict:
    """Figures of a model, and some of its answers."""

    figures: dict[str, float]
    samples: tuple[Sample, ...] = ()

    @property
    def score(self) -> float:
        """The figure by which models are compared: the first."""
        return next(iter(self.figures.values()))


class TaskJudge:
    """Judges by a task of `molmo eval`."""

    def __init__(self, examples: Examples, score: Score, prompter: Prompter, new_tokens: int):
        """new_tokens: how long an answer may be."""
        self.examples, self.score = examples, score
        self.prompter, self.new_tokens = prompter, new_tokens

    def __call__(self, model: Molmo) -> Verdict:
        """The figures of a model."""
        said, ask = Predictions({}), asking(model, self.prompter, self.new_tokens)
        outcome = evaluate(self.examples, self.score, ask, said)
        samples = []
        for example in self.examples:
            answer = said.find(example.id, example.prompt)
            if answer:
                samples.append(
                    Sample(example.prompt, answer.text, with_points(example, answer.text))
                )
            if len(samples) == SAMPLES:
                break
        return Verdict(outcome.means, tuple(samples))


def asking(model: Molmo, prompter: Prompter, new_tokens: int) -> Callable[[Rgb, str], str]:
    """Asks a model on its own device: a picture and a prompt to the text of the answer."""
    device = model.transformer.ff_out.weight.device

    def ask(rgb: Rgb, prompt: str) -> str:
        image = prepare_image(rgb, model.config)
        ids = prompter.encode(prompt, image.tokens)
        inputs = (ids, image.crops, image.masks, image.index)
        tensors = [torch.from_numpy(array)[None].to(device) for array in inputs]
        found = generate(model, *tensors, max_new_tokens=new_tokens, stop=prompter.stop_ids)
        return prompter.decode(
            [t for t in found[0].tolist() if t not in prompter.stop_ids]
        ).strip()

    return ask


def with_points(example: EvalExample, answer: str) -> Rgb:
    """The picture of an example with what is true and what was said."""
    canvas = np.ascontiguousarray(example.rgb()).copy()
    height, width = canvas.shape[:2]
    size = max(3, width // 60)

    def pixel(x: float, y: float) -> tuple[int, int]:
        return round(x / 100 * width), round(y / 100 * height)

    for x, y in example.points or ():
        cv2.drawMarker(canvas, pixel(x, y), TRUE_COLOUR, cv2.MARKER_CROSS, 3 * size, 2)
    for point in parse_points(answer):
        cv2.circle(canvas, pixel(point.x, point.y), size, SAID_COLOUR, 2, cv2.LINE_AA)
    return canvas
