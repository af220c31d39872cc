"""Reads the examples of each step ahead, in worker processes.

Which examples a step reads is a function of its number (see mixture.py), so a run goes on at any
step. Knows no model.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from functools import partial

from torch.utils.data import DataLoader

from molmo_training.examples import Example, ExampleBatch, collate_examples
from molmo_training.mixture import MixtureExamples, StepNumbers


class LoadedSteps:
    """The steps of a mixture."""

    def __init__(
        self, examples: MixtureExamples, steps: int, batch: int, micro_batch: int, loaders: int
    ):
        """Says what a step reads.

        batch:       rows a step, over all processes
        micro_batch: rows that one process reads at once
        loaders:     worker processes of this process; 0 reads when a step asks
        """
        self.examples, self.steps = examples, steps
        self.batch, self.micro_batch, self.loaders = batch, micro_batch, loaders
        self._ahead: Iterator[list[ExampleBatch]] = iter(())
        self._next = -1

    def at(self, step: int, rank: int = 0, ranks: int = 1) -> list[ExampleBatch]:
        """What one process reads in a step; fast when steps follow each other."""
        if step != self._next:
            self._ahead = iter(self._loader(step, rank, ranks))
        self._next = step + 1
        return next(self._ahead)

    def _loader(self, start: int, rank: int, ranks: int) -> DataLoader[list[ExampleBatch]]:
        return DataLoader(
            self.examples,  # type: ignore[arg-type] # it has no end, and needs none
            batch_sampler=StepNumbers(start, self.steps, self.batch, rank, ranks),
            collate_fn=partial(micro_batches, size=self.micro_batch),
            num_workers=self.loaders,
            worker_init_fn=_die_when_told,
        )


def micro_batches(examples: Sequence[Example], size: int) -> list[ExampleBatch]:
    """Cuts the examples of a step into batches of at most `size` rows."""
    starts = range(0, len(examples), size)
    return [collate_examples(examples[start : start + size]) for start in starts]


def _die_when_told(number: int) -> None:
    """Forgets what the trainer does with SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
