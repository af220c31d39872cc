"""Draws training batches from rendered scenes: a pure function of the step, so that runs resume.

Knows no network: arrays out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from molmo_model.config import CropConfig
from molmo_model.text import TEMPLATE, Prompter
from molmo_training.alignment import cell_labels
from molmo_training.augment import (
    mirror_answer,
    mirror_cells,
    mirror_crop,
    mirror_objects,
    relight,
)
from molmo_training.packing import Annotation, Packed, collate, pack
from molmo_training.scenes import RenderedScenes, SceneTruth

POINTING_SHARE = 0.95  # of the questions in the first steps
DECIMAL_WEIGHT = 0.15  # the last digit of a coordinate is mostly noise


@dataclass(frozen=True)
class Batch:
    """What one process reads in one step.

    Shapes as in Molmo.forward, labels as in alignment.py; crops (B, P, 588) are the global ones
    alone: the high-resolution crop of a one-tile picture is equal.
    """

    text: Packed
    crops: Tensor
    masks: Tensor
    index: Tensor
    labels: Tensor
    skipped: int = 0  # scenes are drawn, none is missing


class SceneBatches:
    """Batches of scenes with a few questions each."""

    def __init__(
        self,
        scenes: RenderedScenes,
        prompter: Prompter,
        geometry: CropConfig,
        *,
        batch: int,
        text_tokens: int,
        seed: int,
        pointing_steps: int,
    ):
        """Says what a step reads.

        batch:          scenes a step, over all processes
        text_tokens:    of the questions and answers that are packed behind one picture
        pointing_steps: how many steps are mostly about pointing
        """
        self.scenes, self.prompter = scenes, prompter
        self.geometry = geometry
        self.batch, self.text_tokens, self.seed = batch, text_tokens, seed
        self.pointing_steps = pointing_steps
        self.head = [prompter.bos, *scenes.image.tokens.tolist()]
        self.digits = {prompter.text_ids(digit)[0] for digit in "0123456789"}
        self.point = prompter.text_ids(".")[0]

    def at(self, step: int, rank: int = 0, ranks: int = 1) -> Batch:
        """The part of a step's batch that one process takes."""
        per_epoch = len(self.scenes) // self.batch
        epoch, place = divmod(step, per_epoch)
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.scenes))
        indices = order[place * self.batch : (place + 1) * self.batch][rank::ranks]
        rng = np.random.default_rng((self.seed, step, rank))
        return self._batch(indices, rng, mostly_pointing=step < self.pointing_steps)

    def _batch(
        self, indices: npt.NDArray[np.int64], rng: np.random.Generator, mostly_pointing: bool
    ) -> Batch:
        crops, cells = self.scenes.crops(indices), self.scenes.cells[indices]
        truths = [self.scenes.truths[i] for i in indices]
        is_mirrored = rng.random(len(indices)) < 0.5
        for row in np.flatnonzero(is_mirrored):
            crops[row] = mirror_crop(crops[row], self.geometry)
            cells[row] = mirror_cells(cells[row], self.geometry)
        objects = [
            mirror_objects(truth.objects) if mirrored else truth.objects
            for truth, mirrored in zip(truths, is_mirrored, strict=True)
        ]
        rows = [
            pack(self.head, self._annotations(truth, mirrored, rng, mostly_pointing))
            for truth, mirrored in zip(truths, is_mirrored, strict=True)
        ]
        image = self.scenes.image
        return Batch(
            text=collate(rows),
            crops=torch.from_numpy(np.stack([relight(one, rng) for one in crops])),
            masks=torch.from_numpy(image.masks).expand(len(indices), -1, -1),
            index=torch.from_numpy(image.index).expand(len(indices), -1, -1),
            labels=cell_labels(list(cells), objects),
        )

    def _annotations(
        self, truth: SceneTruth, mirrored: bool, rng: np.random.Generator, mostly_pointing: bool
    ) -> list[Annotation]:
        """Some questions about a scene; what a mirror turns around is not described."""
        questions = [q for q in truth.questions if not (mirrored and q[0] == "describe")]
        chances = np.array([_chance(q, mostly_pointing) for q in questions])
        order = rng.choice(len(chances), len(chances), replace=False, p=chances / chances.sum())
        chosen: list[Annotation] = []
        room = self.text_tokens
        for kind, prompt, answer in (questions[i] for i in order):
            one = self._annotation(prompt, mirror_answer(kind, answer) if mirrored else answer)
            room -= len(one.prompt) + len(one.answer)
            if room < 0 and chosen:
                break
            chosen.append(one)
        return chosen

    def _annotation(self, prompt: str, answer: str) -> Annotation:
        ids = [*self.prompter.text_ids(f" {answer}"), self.prompter.bos]
        weights = [
            DECIMAL_WEIGHT if now in self.digits and before == self.point else 1.0
            for before, now in zip([0, *ids], ids, strict=False)
        ]
        return Annotation(self.prompter.text_ids(TEMPLATE.format(prompt=prompt)), ids, weights)


def _chance(question: tuple[str, str, str], mostly_pointing: bool) -> float:
    """How often a question is drawn, relative to the others."""
    kind, _, answer = question
    is_pointing = kind == "point" and "<point" in answer
    if mostly_pointing:
        return POINTING_SHARE if is_pointing else 1 - POINTING_SHARE
    return 2.0 if kind == "count" else 1.0
