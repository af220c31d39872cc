"""Trains a Molmo on packed annotations, in one process or several that share each step.

All parameters are trained, with one learning rate, schedule and gradient clip per component (ViT,
connector, decoder). Products are computed in bfloat16; weights, sums of gradients and the
decoder's residual stream, where words are small beside pictures, stay in float32. Knows no recipe
(see recipes.py); batches come from whoever makes them.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch.func import functional_call

from molmo_model.molmo import Molmo
from molmo_model.weights import save_model
from molmo_training.alignment import Alignment
from molmo_training.batches import Batch
from molmo_training.learner import Learner
from molmo_training.optimizers import Optimizers, Schedule, component_parameters

log = logging.getLogger(__name__)
STATE = "trainer.pt"


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A schedule, the weight of the auxiliary loss, and how often to save and to speak."""

    schedule: Schedule
    alignment: float = 1.0
    save_every: int = 500
    log_every: int = 25


@dataclass(frozen=True)
class Worker:
    """This process among those that train together."""

    rank: int = 0
    ranks: int = 1

    def sum(self, value: Tensor) -> Tensor:
        """Adds a tensor up over all processes, in place."""
        if self.ranks > 1:
            dist.all_reduce(value)
        return value


class Trainer:
    """The model, its optimizers and where it is in the run."""

    def __init__(
        self,
        model: Molmo,
        alignment: Alignment,
        config: TrainConfig,
        output: Path,
        worker: Worker | None = None,
    ):
        """output: directory of the checkpoint and of the state to resume from."""
        self.model, self.learner = model, Learner(model, alignment)
        self.config, self.output, self.worker = config, output, worker or Worker()
        self.step = 0
        groups = component_parameters(model)
        groups["connector"].update(alignment.named_parameters())
        self.optimizers = Optimizers(groups, config.schedule)

    def train(self, batch_at: Callable[[int, int, int], Batch]) -> None:
        """Runs to the last step; batch_at(step, rank, ranks) gives this process its part."""
        started, first, steps = time.monotonic(), self.step, self.config.schedule.steps
        while self.step < steps:
            batch = batch_at(self.step, self.worker.rank, self.worker.ranks)
            loss, aligned = self.train_step(batch)
            if self.step % self.config.log_every == 0 and self.worker.rank == 0:
                pace = (time.monotonic() - started) / (self.step - first)
                log.info(
                    "step %d/%d loss %.3f alignment %.3f %.2f s/step, %.0f min left",
                    *(self.step, steps, loss, aligned, pace, pace * (steps - self.step) / 60),
                )
            if self.step % self.config.save_every == 0 or self.step == steps:
                self.save()

    def train_step(self, batch: Batch) -> tuple[float, float]:
        """One update; returns the loss and the auxiliary loss of the global batch."""
        weight = self.worker.sum(torch.from_numpy(batch.text.weights).sum())
        rounded = {
            name: p.bfloat16() for name, p in self.learner.named_parameters() if "vision" in name
        }
        with torch.autocast("cpu", torch.bfloat16):
            loss, aligned = functional_call(self.learner, rounded, (batch,))
        loss, aligned = loss / weight, aligned / self.worker.ranks
        self.optimizers.zero_grad()
        (loss + self.config.alignment * aligned).backward()
        report = self._reduce(torch.stack([loss.detach(), aligned.detach()]))
        if not torch.isfinite(report).all():
            raise FloatingPointError(
                f"step {self.step}: the loss is {report.tolist()}; lower the learning rates"
            )
        self.optimizers.step(self.step)
        self.step += 1
        return float(report[0]), float(report[1])

    def save(self) -> None:
        """Writes the checkpoint and the state, each whole or not at all."""
        if self.worker.rank != 0:
            return
        save_model(self.model, self.output)
        state = {
            "step": self.step,
            "learner": self.learner.state_dict(),
            "optimizers": self.optimizers.state(),
        }
        part = self.output / f"{STATE}.part"
        torch.save(state, part)
        part.replace(self.output / STATE)

    def resume(self) -> None:
        """Goes on where the saved state stands; does nothing without one."""
        if not (self.output / STATE).exists():
            return
        state = torch.load(self.output / STATE, weights_only=True)
        self.learner.load_state_dict(state["learner"])
        self.optimizers.load_state(state["optimizers"])
        self.step = state["step"]

    def _reduce(self, report: Tensor) -> Tensor:
        """Adds gradients and the report up over all processes, in one message."""
        if self.worker.ranks == 1:
            return report
        gradients = [p.grad for p in self.optimizers.parameters() if p.grad is not None]
        flat = self.worker.sum(torch.cat([report, *(g.flatten() for g in gradients)]))
        offset = len(report)
        for gradient in gradients:
            gradient.copy_(flat[offset : offset + gradient.numel()].view_as(gradient))
            offset += gradient.numel()
        return flat[: len(report)]


def write_run(output: Path, description: dict[str, object]) -> None:
    """Leaves what the run was made of beside its checkpoint."""
    (output / "run.json").write_text(json.dumps(description, indent=2) + "\n")
