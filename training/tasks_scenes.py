"""Simulated tables as a task: unseen scenes with exact truth, three questions about each.

Knows nothing of models and of data sets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from molmo_model.points import NOTHING, parse_points
from molmo_sim.questions import Kind, Question, object_mask, questions_about
from molmo_sim.render import Frame, open_renderer
from molmo_sim.scene import Scene, sample_scene
from molmo_training.metrics_points import Masks, Spot
from molmo_training.tasks_example import EvalExample, Scores, TaskError

EVALUATION = 2  # first word of the seeds of evaluation scenes; training uses another
NEAR = 0.05  # of the picture's width
QUESTIONS = 3  # about each scene, at most: one object, one count, one absent thing
SCENES = 100


@dataclass(frozen=True)
class SceneExamples:
    """The questions about n scenes; each scene is rendered when it is its turn."""

    n: int
    seed: int

    def __post_init__(self) -> None:
        if self.n < 1:
            raise TaskError(f"evaluation needs at least one scene, {self.n} were asked for")

    def __len__(self) -> int:
        return QUESTIONS * self.n

    def __iter__(self) -> Iterator[EvalExample]:
        renderer = open_renderer()
        try:
            for index in range(self.n):
                key = (EVALUATION, self.seed, index)
                scene = sample_scene(key)
                frame = renderer.render(scene)
                questions = questions_about(scene, frame, np.random.default_rng(key))
                yield from _examples(index, scene, frame, questions)
        finally:
            renderer.close()


def scene_examples(data: Path | None, n: int | None, seed: int) -> SceneExamples:
    """See Task.examples; n counts scenes, and nothing is read."""
    return SceneExamples(SCENES if n is None else n, seed)


def score_scene(text: str, example: EvalExample) -> Scores:
    """One object: the first point near its centre (within5) and on it (inside).

    Counting: the stated number is right (count). What is absent: "There are none." (none).
    """
    if example.number is not None:
        return {"count": float(counted(text) == example.number)}
    if not example.points:
        return {"none": float(text == NOTHING)}
    found = parse_points(text)
    if not found:
        return {"within5": 0.0, "inside": 0.0}
    assert example.masks is not None, example.id
    height, width = example.masks.shape[1:]
    u, v = _pixel((found[0].x, found[0].y), width, height)
    x, y = example.points[0]
    centre = (x / 100 * width - 0.5, y / 100 * height - 0.5)
    near = float(np.hypot(u - centre[0], v - centre[1])) <= NEAR * width
    return {"within5": float(near), "inside": float(example.masks[0, round(v), round(u)])}


def counted(text: str) -> int:
    """The number that a counting answer states; without one, how many points it has."""
    if text == NOTHING:
        return 0
    stated = re.search(r"total of (\d+)", text)
    return int(stated[1]) if stated else len(parse_points(text))


def _examples(
    index: int, scene: Scene, frame: Frame, questions: list[Question]
) -> Iterator[EvalExample]:
    single = [q for q in questions if q.kind == "point" and len(q.points) == 1]
    for question in single[:1]:
        yield EvalExample(
            id=f"{index} point",
            image=frame.rgb,
            prompt=question.prompt,
            points=question.points,
            masks=_named(question, scene, frame),
        )
    count = next(q for q in questions if q.kind == "count" and q.count > 0)
    yield EvalExample(
        id=f"{index} count", image=frame.rgb, prompt=count.prompt, number=count.count
    )
    absent = next(q for q in questions if q.kind == "point" and not q.points)
    yield EvalExample(id=f"{index} none", image=frame.rgb, prompt=absent.prompt, points=())


def _named(question: Question, scene: Scene, frame: Frame) -> Masks:
    """(1, H, W), where the picture shows what the question names."""
    kind = Kind.of_label(question.label)
    assert kind is not None, question.label
    shown = np.zeros(frame.rgb.shape[:2], np.bool_)
    for index, thing in enumerate(scene.objects):
        if kind.fits(thing):
            shown |= object_mask(frame, index)
    return shown[None]


def _pixel(spot: Spot, width: int, height: int) -> tuple[float, float]:
    """Where the robot would look: from the centre of the first pixel, kept in the picture."""
    u, v = spot[0] / 100 * width - 0.5, spot[1] / 100 * height - 0.5
    return min(max(u, 0.0), width - 1.0), min(max(v, 0.0), height - 1.0)
