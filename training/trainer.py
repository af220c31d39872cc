"""Trains a Molmo on packed annotations, in one process or several that share each step.

All parameters are trained, with one learning rate, schedule and gradient clip per component (ViT,
connector, decoder). Knows no recipe (see recipes.py); batches come from whoever makes them.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from molmo_model.molmo import Molmo, place
from molmo_model.weights import save_model
from molmo_training.alignment import Alignment
from molmo_training.batches import Batch
from molmo_training.loss import summed_loss

log = logging.getLogger(__name__)
STATE = "trainer.pt"


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How long and how fast; learning rates are peaks of warm-up and cosine."""

    steps: int
    lr_connector: float
    lr_vit: float
    lr_decoder: float
    warmup: int = 200
    final_lr: float = 0.1  # of the peak, at the last step
    clip: float = 1.0  # gradient norm, per component
    weight_decay: float = 0.0
    alignment: float = 1.0  # weight of the auxiliary loss
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
    """The model, its optimiser and where it is in the run."""

    def __init__(
        self,
        model: Molmo,
        alignment: Alignment,
        config: TrainConfig,
        output: Path,
        worker: Worker | None = None,
    ):
        """output: directory of the checkpoint and of the state to resume from."""
        self.model, self.alignment, self.config, self.output = model, alignment, config, output
        self.worker = worker or Worker()
        self.step = 0
        groups = component_parameters(model)
        groups["connector"] += list(alignment.parameters())
        rates = {
            "connector": config.lr_connector,
            "vit": config.lr_vit,
            "decoder": config.lr_decoder,
        }
        self.optimizer = torch.optim.AdamW(
            [{"params": groups[name], "peak": rates[name], "name": name} for name in groups],
            betas=(0.9, 0.95),
            eps=1e-6,
            weight_decay=config.weight_decay,
        )

    def train(self, batch_at: Callable[[int, int, int], Batch]) -> None:
        """Runs to the last step; batch_at(step, rank, ranks) gives this process its part."""
        started, first = time.monotonic(), self.step
        while self.step < self.config.steps:
            batch = batch_at(self.step, self.worker.rank, self.worker.ranks)
            loss, aligned = self.train_step(batch)
            if self.step % self.config.log_every == 0 and self.worker.rank == 0:
                pace = (time.monotonic() - started) / (self.step - first)
                left_min = pace * (self.config.steps - self.step) / 60
                log.info(
                    "step %d/%d loss %.3f alignment %.3f %.2f s/step, %.0f min left",
                    *(self.step, self.config.steps, loss, aligned, pace, left_min),
                )
            if self.step % self.config.save_every == 0 or self.step == self.config.steps:
                self.save()

    def train_step(self, batch: Batch) -> tuple[float, float]:
        """One update; returns the loss and the auxiliary loss of the global batch."""
        weight = self.worker.sum(torch.from_numpy(batch.text.weights).sum())
        with torch.autocast("cpu", torch.bfloat16):
            features = self._encode(batch)
            aligned = self.alignment(features, self.model.transformer.wte.embedding, batch.labels)
            loss = self._answer_loss(batch, features) / weight
        aligned = aligned / self.worker.ranks
        self.optimizer.zero_grad(set_to_none=False)
        (loss + self.config.alignment * aligned).backward()
        report = self._reduce(torch.stack([loss.detach(), aligned.detach()]))
        if not torch.isfinite(report).all():
            raise FloatingPointError(
                f"step {self.step}: the loss is {report.tolist()}; lower the learning rates"
            )
        self._update()
        self.step += 1
        return float(report[0]), float(report[1])

    def save(self) -> None:
        """Writes the checkpoint and the state, each whole or not at all."""
        if self.worker.rank != 0:
            return
        save_model(self.model, self.output)
        state = {
            "step": self.step,
            "optimizer": self.optimizer.state_dict(),
            "alignment": self.alignment.state_dict(),
            "model": self.model.state_dict(),
        }
        part = self.output / f"{STATE}.part"
        torch.save(state, part)
        part.replace(self.output / STATE)

    def resume(self) -> None:
        """Goes on where the saved state stands; does nothing without one."""
        if not (self.output / STATE).exists():
            return
        state = torch.load(self.output / STATE, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.alignment.load_state_dict(state["alignment"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]

    def _encode(self, batch: Batch) -> Tensor:
        """Molmo.encode_image for pictures of one tile: both crops are equal, one is looked at."""
        backbone = self.model.vision_backbone
        seen = backbone.see(batch.crops)[:, None].expand(-1, 2, -1, -1)
        features = backbone.connect(seen.flatten(0, 1), batch.masks.flatten(0, 1))
        return features.unflatten(0, batch.masks.shape[:2])

    def _answer_loss(self, batch: Batch, features: Tensor) -> Tensor:
        """Summed loss of the answers; the head runs only where something is learned."""
        ids = torch.from_numpy(batch.text.ids)
        hidden = self.model.hidden_states(
            ids,
            place(features.float(), batch.index, ids.shape[1]),
            position_ids=torch.from_numpy(batch.text.positions),
            segment_ids=torch.from_numpy(batch.text.segments),
        )
        weights = torch.from_numpy(batch.text.weights)
        learned = weights > 0
        logits = self.model.transformer.ff_out(hidden[learned])
        return summed_loss(logits, torch.from_numpy(batch.text.targets)[learned], weights[learned])

    def _reduce(self, report: Tensor) -> Tensor:
        """Adds gradients and the report up over all processes, in one message."""
        if self.worker.ranks == 1:
            return report
        gradients = [p.grad for p in self._parameters() if p.grad is not None]
        flat = self.worker.sum(torch.cat([report, *(g.flatten() for g in gradients)]))
        offset = len(report)
        for gradient in gradients:
            gradient.copy_(flat[offset : offset + gradient.numel()].view_as(gradient))
            offset += gradient.numel()
        return flat[: len(report)]

    def _update(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(group["peak"], self.step, self.config)
            nn.utils.clip_grad_norm_(group["params"], self.config.clip)
        self.optimizer.step()

    def _parameters(self) -> Iterator[nn.Parameter]:
        for group in self.optimizer.param_groups:
            yield from group["params"]


def component_parameters(model: Molmo) -> dict[str, list[nn.Parameter]]:
    """The published split: connector (with the new embeddings), ViT, and the rest."""
    groups: dict[str, list[nn.Parameter]] = {"connector": [], "vit": [], "decoder": []}
    for name, parameter in model.named_parameters():
        if "image_vit" in name:
            groups["vit"].append(parameter)
        elif "vision_backbone" in name or name.endswith("new_embedding"):
            groups["connector"].append(parameter)
        else:
            groups["decoder"].append(parameter)
    return groups


def learning_rate(peak: float, step: int, config: TrainConfig) -> float:
    """Linear warm-up from zero, then cosine down to final_lr of the peak at the last step."""
    if step < config.warmup:
        return peak * step / config.warmup
    done = min(1.0, (step - config.warmup) / max(1, config.steps - config.warmup))
    return peak * (config.final_lr + (1 - config.final_lr) * (1 + math.cos(math.pi * done)) / 2)


def write_run(output: Path, description: dict[str, object]) -> None:
    """Leaves what the run was made of beside its checkpoint."""
    (output / "run.json").write_text(json.dumps(description, indent=2) + "\n")
