"""Writes simulated scenes as a folder of your own data: pictures, and a data.jsonl about them.

Stands in for a robot's recordings where there is no robot: in measurements and tests.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from molmo_sim.questions import EVERY_KIND, NEW_KINDS, Question, questions_about
from molmo_sim.render import open_renderer
from molmo_sim.scene import repainted, sample_scene
from molmo_training.own_lines import NAME

Seed = tuple[int, ...]


def write_scenes(
    folder: Path, name: str, seeds: Iterable[Seed], colour: str | None = None
) -> Path:
    """Adds the scenes of these seeds, as folder/name/*.png and lines of its data.jsonl.

    colour:  a new one, which about half of the objects get; the questions are about these alone.
             Without, they are about everything that Molmo-tiny was trained for
    returns: the folder
    """
    (folder / name).mkdir(parents=True)
    with closing(open_renderer()) as renderer, (folder / NAME).open("a") as lines:
        for number, seed in enumerate(seeds):
            rng, scene = np.random.default_rng(seed), sample_scene(seed)
            scene = repainted(scene, colour, rng) if colour else scene
            frame = renderer.render(scene)
            image = f"{name}/{number:04d}.png"
            cv2.imwrite(str(folder / image), frame.rgb[:, :, ::-1])
            kinds = (*EVERY_KIND, *NEW_KINDS) if colour else EVERY_KIND
            asked = questions_about(scene, frame, rng, kinds)
            if colour:  # of which but half are about it
                asked += questions_about(scene, frame, rng, kinds)
            lines.writelines(_lines(image, asked, colour or ""))
    return folder


def _lines(image: str, questions: list[Question], word: str) -> Iterator[str]:
    """A line for each question that is about this word, once, and is answered by pointing."""
    once = {(question.kind, question.label): question for question in questions}
    for question in once.values():
        if question.kind == "describe" or word not in question.label:
            continue
        line: dict[str, Any] = {"image": image, "prompt": question.prompt, "label": question.label}
        line["percent"] = [[round(x, 2), round(y, 2)] for x, y in question.points]
        if question.kind == "count":
            line["count"] = True
        yield json.dumps(line) + "\n"
