"""The runs that we ship: the two published stages, and fine-tuning on a robot's own pictures.

A recipe says everything about a run but where things are; runs.py runs it. Molmo-tiny, which is
trained from nothing on simulated scenes, has a file of its own (recipe_tiny.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from molmo_training.dropout import Dropout
from molmo_training.examples import SEQUENCE_LENGTH, Form
from molmo_training.mixture import (
    CAPTIONS,
    CAPTIONS_SEED,
    INSTRUCTIONS,
    INSTRUCTIONS_SEED,
    Group,
)
from molmo_training.optimizers import Rate, Schedule
from molmo_training.trainer import TrainConfig


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A run of a checkpoint of the published layout over a mixture of data sets.

    groups:          the mixture; data_seed: of its order
    form:            how texts are written, see ExampleMaker
    training:        rates, steps and how often to save
    epochs:          the steps that this makes, in place of those of the schedule
    batch:           rows a step, over all processes; micro_batch: rows at once in one process
    length:          tokens, where rows are cut
    dropout:         on what is added to the residual stream
    train_embedding: of the main table; published: frozen, only the new rows are trained
    """

    groups: tuple[Group, ...]
    data_seed: int
    form: Form
    training: TrainConfig
    epochs: int | None = None
    batch: int
    micro_batch: int = 4
    length: int = SEQUENCE_LENGTH
    dropout: Dropout = field(default_factory=Dropout)
    train_embedding: bool = False

    def steps(self, pictures: int) -> int:
        """How many steps a mixture of so many pictures takes."""
        if self.epochs is None:
            return self.training.schedule.steps
        return max(1, self.epochs * (pictures + self.batch - 1) // self.batch)


def captions() -> Recipe:
    """The first stage: long captions and transcripts, four times."""
    return Recipe(
        groups=CAPTIONS,
        data_seed=CAPTIONS_SEED,
        form="caption",
        training=TrainConfig(
            schedule=Schedule(
                steps=22_300,  # of 712,000 pictures
                connector=Rate(2e-4, 200),
                vit=Rate(6e-6, 2000),
                decoder=Rate(2e-5, 2000),
            ),
        ),
        epochs=4,
        batch=128,
        dropout=Dropout(answers_only=True),
    )


def sft() -> Recipe:
    """The second stage: questions, pointing and academic sets."""
    return Recipe(
        groups=INSTRUCTIONS,
        data_seed=INSTRUCTIONS_SEED,
        form="chat",
        training=TrainConfig(
            schedule=Schedule(
                steps=30_000, connector=Rate(5e-6), vit=Rate(5e-6), decoder=Rate(1e-5)
            ),
            judge_every=2000,
        ),
        batch=256,
    )


def my_data() -> Recipe:
    """Your own pictures on top of a model that points already; the numbers are our guess."""
    return Recipe(
        groups=(Group(1.0, {"my-data": None}),),
        data_seed=INSTRUCTIONS_SEED,
        form="chat",
        training=TrainConfig(
            schedule=Schedule(
                steps=1000,
                connector=Rate(5e-6, 20),
                vit=Rate(5e-6, 20),
                decoder=Rate(1e-5, 20),
            ),
            save_every=100,
            judge_every=100,
        ),
        epochs=5,
        batch=16,
    )


RECIPES = {"captions": captions, "sft": sft, "my-data": my_data}
