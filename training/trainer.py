"""Trains a Molmo on packed annotations, in one process or several that share each step.

One learning rate, warm-up and gradient clip per component (ViT, connector, decoder); the loss is
divided by the weight of the whole batch, however it is cut into micro-batches and processes.
Knows no recipe (see recipes.py), no network (see learner.py) and not what a checkpoint looks like
(see state.py); what a step reads comes from whoever makes it.
"""

from __future__ import annotations

import logging
import math
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from molmo_model.molmo import Molmo
from molmo_training.checkpoints import CheckpointError, Checkpoints
from molmo_training.costs import Work, work_of
from molmo_training.distributed import Worker, is_sharded
from molmo_training.judge import Verdict
from molmo_training.learner import Learner, Losses, Step
from molmo_training.optimizers import Optimizers, Schedule, component_parameters
from molmo_training.state import Facts, Snapshot, restore, whole_model

log = logging.getLogger(__name__)
SEED = 6198  # the published one


class DivergedError(FloatingPointError):
    """A run whose gradients are not finite any more."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A schedule, how often to save and to judge, and when to give up.

    alignment: weight of the auxiliary loss, for learners that have one
    patience:  steps in a row whose gradients are not finite, before the run ends
    """

    schedule: Schedule
    alignment: float = 1.0
    save_every: int = 500
    judge_every: int = 1000
    patience: int = 10
    seed: int = SEED


@dataclass(frozen=True)
class StepReport:
    """What a step did, over all processes.

    skipped:    pictures that could not be had, in the whole run
    norms:      gradient of each component, before it was clipped
    is_refused: the weights stayed as they were
    is_last:    somebody asked to stop
    """

    step: int
    loss: float
    auxiliary: float
    work: Work
    skipped: int
    norms: dict[str, float]
    is_refused: bool
    is_last: bool


class Watcher(Protocol):
    """Sees a run go by."""

    def on_step(self, report: StepReport) -> None: ...

    def on_verdict(self, step: int, verdict: Verdict) -> None: ...


Judge = Callable[[Molmo], Verdict]
StepAt = Callable[[int, int, int], Step]  # (step, rank, ranks): what this process reads


class Trainer:
    """The model, its optimizers and where it is in the run."""

    def __init__(
        self,
        learner: Learner,
        config: TrainConfig,
        output: Path,
        worker: Worker | None = None,
    ):
        """output: directory of the checkpoints."""
        self.learner, self.model = learner, learner.model
        self.config, self.output, self.worker = config, output, worker or Worker()
        self.facts = Facts()
        self.optimizers = Optimizers(component_parameters(learner), config.schedule)
        self.checkpoints = Checkpoints(output, self.worker)
        self._must_stop = False

    @property
    def step(self) -> int:
        """The next one; so many are done."""
        return self.facts.step

    def train(
        self, step_at: StepAt, watcher: Watcher | None = None, judge: Judge | None = None
    ) -> bool:
        """Runs to the last step, or to the end of the step in which SIGTERM comes.

        judge:   figures of the model now and then; the checkpoint with the best is kept
        returns: whether the last step is done
        raises:  CheckpointError if the end cannot be saved
        """
        config, steps = self.config, self.config.schedule.steps
        with self._stopping():
            while self.step < steps:
                report = self.train_step(step_at(self.step, self.worker.rank, self.worker.ranks))
                if watcher:
                    watcher.on_step(report)
                is_end, score = self.step == steps, None
                if judge and (is_end or self.step % config.judge_every == 0):
                    score = self._score(judge, watcher)
                is_end = is_end or report.is_last
                if is_end or score is not None or self.step % config.save_every == 0:
                    self._save(score, must=is_end)
                if report.is_last:
                    break
        if self.step < steps:
            log.warning("stopped at step %d of %d; start it again to go on", self.step, steps)
        return self.step == steps

    def train_step(self, step: Step) -> StepReport:
        """One update, unless a gradient is not finite: then the weights stay as they are.

        raises: DivergedError after too many such steps in a row
        """
        self.learner.train()
        self.optimizers.zero_grad()
        sums = self._sums(step, self._backward(step))
        norms = self.optimizers.norms()
        is_fine = all(math.isfinite(float(one)) for one in (sums[0], sums[1], *norms.values()))
        if is_fine:
            self.optimizers.step(self.step, norms)
        loss, auxiliary, skipped, stop, *work = sums.tolist()
        report = StepReport(
            step=self.step,
            loss=loss,
            auxiliary=auxiliary,
            work=Work(*work),
            skipped=self.facts.skipped + int(skipped),
            norms={name: float(norm) for name, norm in norms.items()},
            is_refused=not is_fine,
            is_last=stop > 0,
        )
        self._count(report)
        return report

    def resume(self) -> None:
        """Goes on where the newest checkpoint stands; does nothing without one."""
        newest = self.checkpoints.newest()
        if newest is not None:
            self.facts = restore(newest, self.learner, self.optimizers)

    def save(self, *, is_best: bool = False) -> bool:
        """Writes a checkpoint; returns False when that did not work, as the log says."""
        snapshot = Snapshot(self.learner, self.optimizers, self.worker)
        return self.checkpoints.write(
            self.step,
            lambda directory: snapshot.write(directory, self.facts, self.output),
            is_best=is_best,
        )

    def _backward(self, step: Step) -> Tensor:
        """Adds up the gradients of this process; returns the two losses, (2,)."""
        worker, weights = self.worker, [torch.from_numpy(one.text.weights).sum() for one in step]
        weight = worker.sum(torch.stack(weights).sum().to(worker.device))
        losses = torch.zeros(2, device=worker.device)
        for number, one in enumerate(step):
            torch.manual_seed(_seed(self.config.seed, self.step, worker.rank, number))
            found: Losses = self.learner.losses(one)
            loss = found.answers / weight
            auxiliary = torch.zeros_like(loss)
            if found.auxiliary is not None:
                auxiliary = found.auxiliary / (worker.ranks * len(step))
            (loss + self.config.alignment * auxiliary).backward()
            losses += torch.stack([loss.detach(), auxiliary.detach()])
        return losses

    def _sums(self, step: Step, losses: Tensor) -> Tensor:
        """Losses, skipped pictures, calls to stop and the work done, over all processes, (9,)."""
        skipped = sum(one.skipped for one in step)
        work = np.sum([astuple(work_of(one.text, one.crops)) for one in step], axis=0)
        others = torch.tensor([skipped, self._must_stop, *work], dtype=torch.float32)
        sums = torch.cat([losses, others.to(losses.device)])
        if is_sharded(self.learner):  # the gradients are added up already
            return self.worker.sum(sums)
        gradients = [p.grad for p in self.optimizers.parameters() if p.grad is not None]
        return _summed_with(sums, gradients, self.worker)

    def _count(self, report: StepReport) -> None:
        """Moves to the next step; ends a run that no longer learns."""
        refused = self.facts.refused + 1 if report.is_refused else 0
        if report.is_refused:
            said = (
                f"step {report.step}: the loss is {report.loss}, auxiliary {report.auxiliary}, "
                f"gradient norms {report.norms}"
            )
            if refused >= self.config.patience:
                raise DivergedError(
                    f"{said}: not finite for {refused} steps in a row. Lower the learning rates, "
                    "or look at the examples of these steps; the last checkpoint is intact"
                )
            log.warning("%s: not finite, the step is refused, the weights stay", said)
        self.facts = replace(
            self.facts, step=self.step + 1, refused=refused, skipped=report.skipped
        )

    def _score(self, judge: Judge, watcher: Watcher | None) -> float:
        """The first figure of the model as it is now."""
        score, model = 0.0, whole_model(self.model, self.worker)
        if model is not None:
            verdict = judge(model.eval())
            score = verdict.score
            if watcher:
                watcher.on_verdict(self.step, verdict)
        return self.worker.told(score)

    def _save(self, score: float | None, *, must: bool) -> None:
        before = self.facts
        is_best = score is not None and (before.best is None or score > before.best)
        if is_best:
            self.facts = replace(before, best=score)
        if self.save(is_best=is_best):
            return
        self.facts = before
        if must:
            raise CheckpointError(
                f"{self.output}: step {self.step} could not be saved and the run has to end. Make "
                "room and start it again: it goes on from the checkpoint before"
            )

    @contextmanager
    def _stopping(self) -> Iterator[None]:
        """While a run goes, SIGTERM asks it to save and to end."""

        def ask(number: int, frame: FrameType | None) -> None:
            self._must_stop = True

        before = signal.signal(signal.SIGTERM, ask)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)


def _summed_with(sums: Tensor, gradients: Sequence[Tensor], worker: Worker) -> Tensor:
    """Adds sums and gradients up over all processes that keep whole weights, in one message."""
    if worker.ranks == 1:
        return sums
    flat = worker.sum(torch.cat([sums, *(g.flatten() for g in gradients)]))
    offset = len(sums)
    for gradient in gradients:
        gradient.copy_(flat[offset : offset + gradient.numel()].view_as(gradient))
        offset += gradient.numel()
    return flat[: len(sums)]


def _seed(run: int, step: int, rank: int, number: int) -> int:
    """Of the dropout of one micro-batch: the same whenever it is computed."""
    return int(np.random.SeedSequence([run, step, rank, number]).generate_state(1)[0])
