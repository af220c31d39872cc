"""How the weights of a Molmo move: components, learning rates, and one optimizer or two.

Every component (ViT, connector, decoder) has its own peak rate and gradient clip, as published.
Training from scratch may hand the matrices of ViT and connector to Muon (Jordan et al. 2024),
which turns each update into an orthogonal one: a small ViT then needs about half the pictures.
The decoder stays with AdamW, with which it learned sooner to look for what is asked.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.optim import AdamW, Muon, Optimizer

from molmo_model.molmo import Molmo

COMPONENTS = ("connector", "vit", "decoder")
_TABLES = ("embedding", "pad_embed", "patch_embedding.weight")  # of single rows, or of pixels


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long and how fast; learning rates are peaks of a warm-up and a cosine.

    lr_matrices:   of Muon, for the hidden matrices of ViT and connector; None leaves them to
                   AdamW, as published
    final_lr:      of the peak, where the cosine ends
    cooldown:      last steps, in which the rates go straight from there to zero; published: none
    clip:          gradient norm, per component
    """

    steps: int
    lr_connector: float
    lr_vit: float
    lr_decoder: float
    lr_matrices: float | None = None
    warmup: int = 200
    final_lr: float = 0.1
    cooldown: int = 0
    clip: float = 1.0
    weight_decay: float = 0.0


class Optimizers:
    """All parameters of a model, each in the hands of one optimizer."""

    def __init__(self, groups: dict[str, dict[str, nn.Parameter]], schedule: Schedule):
        """groups: of each component the parameters by name, see component_parameters."""
        self.schedule = schedule
        self.components = {name: list(group.values()) for name, group in groups.items()}
        plain, hidden = [], []
        for component, group in groups.items():
            is_seeing = component != "decoder" and schedule.lr_matrices is not None
            inner = {n for n, p in group.items() if is_seeing and _is_hidden_matrix(n, p)}
            rate: float = getattr(schedule, f"lr_{component}")
            rest = [p for n, p in group.items() if n not in inner]
            plain.append({"params": rest, "peak": rate})
            hidden += [p for n, p in group.items() if n in inner]
        self.optimizers: list[Optimizer] = [
            AdamW(plain, betas=(0.9, 0.95), eps=1e-6, weight_decay=schedule.weight_decay)
        ]
        if hidden:
            matrices = {"params": hidden, "peak": schedule.lr_matrices}
            self.optimizers.append(Muon([matrices], weight_decay=schedule.weight_decay))

    def step(self, step: int) -> None:
        """Clips the gradients and moves the weights at the rates of this step."""
        for parameters in self.components.values():
            nn.utils.clip_grad_norm_(parameters, self.schedule.clip)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(group["peak"], step, self.schedule)
            optimizer.step()

    def parameters(self) -> Iterator[nn.Parameter]:
        for parameters in self.components.values():
            yield from parameters

    def zero_grad(self) -> None:
        for optimizer in self.optimizers:
            optimizer.zero_grad()

    def state(self) -> list[dict[str, object]]:
        return [optimizer.state_dict() for optimizer in self.optimizers]

    def load_state(self, states: list[dict[str, object]]) -> None:
        for optimizer, state in zip(self.optimizers, states, strict=True):
            optimizer.load_state_dict(state)


def component_parameters(model: Molmo) -> dict[str, dict[str, nn.Parameter]]:
    """The published split: connector (with the new embeddings), ViT, and the rest."""
    groups: dict[str, dict[str, nn.Parameter]] = {name: {} for name in COMPONENTS}
    for name, parameter in model.named_parameters():
        if "image_vit" in name:
            groups["vit"][name] = parameter
        elif "vision_backbone" in name or name.endswith("new_embedding"):
            groups["connector"][name] = parameter
        else:
            groups["decoder"][name] = parameter
    return groups


def learning_rate(peak: float, step: int, schedule: Schedule) -> float:
    """Linear warm-up from zero, cosine down to final_lr of the peak, linear cool-down to zero."""
    if step < schedule.warmup:
        return peak * step / schedule.warmup
    low, cold = schedule.final_lr, schedule.steps - schedule.cooldown
    if schedule.cooldown and step > cold:
        return peak * low * max(0, schedule.steps - step) / schedule.cooldown
    done = min(1.0, (step - schedule.warmup) / max(1, cold - schedule.warmup))
    return peak * (low + (1 - low) * (1 + math.cos(math.pi * done)) / 2)


def _is_hidden_matrix(name: str, parameter: torch.Tensor) -> bool:
    """Whether a parameter maps features to features; pixels, words and places are no features."""
    return parameter.ndim == 2 and not name.endswith(_TABLES)
