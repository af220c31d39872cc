"""Measures how well a model points, counts and says that nothing is there, on unseen scenes.

Takes anything shaped like the engine's Predictor, so that torch and every engine are measured
alike.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from molmo_sim.questions import NOTHING, Kind, Question, object_mask, questions_about
from molmo_sim.render import Frame, open_renderer
from molmo_sim.scene import Scene, sample_scene

EVALUATION = 2  # first word of the seeds of evaluation scenes; training uses another
NEAR = 0.05  # of the picture's width


class FoundPoint(Protocol):
    """A point of an answer."""

    @property
    def pixel(self) -> tuple[float, float]: ...


class SceneAnswer(Protocol):
    """What is read of an answer."""

    @property
    def text(self) -> str: ...

    @property
    def found(self) -> Sequence[FoundPoint]: ...


class Asker(Protocol):
    """The part of a Predictor that evaluation needs."""

    def ask(self, rgb: npt.NDArray[np.uint8], prompt: str) -> SceneAnswer: ...


def evaluate_scenes(
    predictor: Asker, n: int, seed: int, progress: Callable[[int], None] = lambda done: None
) -> dict[str, float | int]:
    """Asks three questions about each of n scenes: one object, one count, one absent thing.

    returns: shares of points within 5 % of the picture's width of the object's visible centre
    (within5) and on the object (inside), of right counts (count) and of "There are none." about
    what is absent (none); and n. A share of nothing (no scene had such an object) is left out.
    """
    if n < 1:
        raise ValueError(f"evaluation needs at least one scene, {n} were asked for")
    scores: dict[str, list[bool]] = {"within5": [], "inside": [], "count": [], "none": []}
    renderer = open_renderer()
    try:
        for index in range(n):
            key = (EVALUATION, seed, index)
            scene = sample_scene(key)
            frame = renderer.render(scene)
            questions = questions_about(scene, frame, np.random.default_rng(key))
            for name, right in _score(predictor, scene, frame, questions):
                scores[name].append(right)
            progress(index + 1)
    finally:
        renderer.close()
    shares = {name: round(float(np.mean(hits)), 4) for name, hits in scores.items() if hits}
    return {**shares, "n": n}


def counted(text: str, points: int) -> int:
    """The number that a counting answer states; without one, how many points it has."""
    if text == NOTHING:
        return 0
    stated = re.search(r"total of (\d+)", text)
    return int(stated[1]) if stated else points


def _score(
    predictor: Asker, scene: Scene, frame: Frame, questions: list[Question]
) -> list[tuple[str, bool]]:
    scores: list[tuple[str, bool]] = []
    single = [q for q in questions if q.kind == "point" and len(q.points) == 1]
    if single:
        answer = predictor.ask(frame.rgb, single[0].prompt)
        pixel = answer.found[0].pixel if answer.found else None
        scores.append(("within5", pixel is not None and _is_near(pixel, single[0], frame)))
        scores.append(("inside", pixel is not None and _is_inside(pixel, single[0], scene, frame)))
    counts = [q for q in questions if q.kind == "count" and q.count > 0]
    answer = predictor.ask(frame.rgb, counts[0].prompt)
    scores.append(("count", counted(answer.text, len(answer.found)) == counts[0].count))
    absent = next(q for q in questions if q.kind == "point" and not q.points)
    scores.append(("none", predictor.ask(frame.rgb, absent.prompt).text == NOTHING))
    return scores


def _is_near(pixel: tuple[float, float], question: Question, frame: Frame) -> bool:
    height, width = frame.rgb.shape[:2]
    x, y = question.points[0]
    centre = (x / 100 * width - 0.5, y / 100 * height - 0.5)
    return float(np.hypot(pixel[0] - centre[0], pixel[1] - centre[1])) <= NEAR * width


def _is_inside(pixel: tuple[float, float], question: Question, scene: Scene, frame: Frame) -> bool:
    """Whether the pixel shows the object that the question named."""
    height, width = frame.rgb.shape[:2]
    u, v = (
        min(max(round(at), 0), end - 1) for at, end in zip(pixel, (width, height), strict=True)
    )
    kind = Kind.of_label(question.label)
    assert kind is not None, question.label
    named = [i for i, thing in enumerate(scene.objects) if kind.fits(thing)]
    return any(bool(object_mask(frame, index)[v, u]) for index in named)
