"""Runs of a small recipe in processes of their own, which tests may kill."""

from __future__ import annotations

import multiprocessing
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
from homemade import small_recipe

from molmo_training import runs
from molmo_training.learner import Step
from molmo_training.trainer import StepReport, Trainer

STEPS, SAVE_EVERY = 16, 3
IMPORTS = ["molmo_training.runs", "torch.utils.tensorboard", "peft"]  # once for all processes


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a run is to do otherwise.

    full:  after these steps no file may grow
    waits: after each step, until it is sent something
    """

    root: Path
    output: str
    lora: int | None = None
    full: range = range(0)
    waits: bool = False


def train(wish: Wish, pipe: Connection | None = None) -> bool:
    """A run; says every step that it has done."""
    torch.set_num_threads(1)

    class Telling(Trainer):
        def train_step(self, step: Step) -> StepReport:
            report = super().train_step(step)
            if pipe:
                pipe.send(report)
                if wish.waits:
                    pipe.recv()
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            limit = 4_000 if report.step in wish.full else hard
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
            return report

    runs.Trainer = Telling  # type: ignore[misc]
    try:
        return runs.run(small_recipe(STEPS, save_every=SAVE_EVERY), options(wish))
    finally:
        runs.Trainer = Trainer  # type: ignore[misc]


def options(wish: Wish) -> runs.Options:
    return runs.Options(
        start=wish.root / "start",
        data=wish.root / "data",
        output=wish.root / wish.output,
        lora=wish.lora,
        loaders=0,
    )


@contextmanager
def running(wish: Wish) -> Iterator[tuple[BaseProcess, Connection]]:
    """A run in another process, and the steps that it says."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTS)
    here, there = context.Pipe()
    process = context.Process(target=train, args=(wish, there))
    process.start()
    there.close()
    try:
        yield process, here
    finally:
        process.kill()
        process.join()
        here.close()


def told(pipe: Connection) -> list[StepReport]:
    """All steps that a run still says, until it ends."""
    found = []
    while True:
        try:
            found.append(pipe.recv())
        except EOFError:
            return found
