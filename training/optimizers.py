"""How the weights of a Molmo move: components, learning rates, and one optimizer or two.

Every component (ViT, connector, decoder) has a rate, warm-up and gradient clip of its own,
as published. Training from scratch may hand the matrices of ViT and connector to Muon (Jordan
et al. 2024), which turns each update into an orthogonal one: a small ViT then needs about half
the pictures. The decoder stays with AdamW, with which it learned sooner to look for what is asked.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Muon, Optimizer

from molmo_training.distributed import whole

COMPONENTS = ("connector", "vit", "decoder")
_CONNECTOR = ("vision_backbone", "alignment")  # the latter of learners that have one
_TABLES = ("embedding", "pad_embed", "patch_embedding.weight")  # of single rows, or of pixels


@dataclass(frozen=True)
class Rate:
    """A learning rate: its peak, and in how many steps it rises there."""

    peak: float
    warmup: int = 200


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long and how fast; rates warm up and go down in a cosine.

    matrices:  rate of Muon, for the hidden matrices of ViT and connector; None leaves them to
               AdamW, as published
    final:     of the peak, where the cosine ends
    cooldown:  last steps, in which the rates go straight from there to zero; published: none
    clip:      gradient norm, per component
    """

    steps: int
    connector: Rate
    vit: Rate
    decoder: Rate
    matrices: Rate | None = None
    final: float = 0.1
    cooldown: int = 0
    clip: float = 1.0
    weight_decay: float = 0.0

    def rate_of(self, group: str) -> Rate:
        """The rate of a component, or of the matrices."""
        rate: Rate = getattr(self, group)
        return rate


class Optimizers:
    """All trained parameters of a model, each in the hands of one optimizer."""

    def __init__(self, groups: dict[str, dict[str, nn.Parameter]], schedule: Schedule):
        """groups: of each component the parameters by name, see component_parameters."""
        self.schedule = schedule
        self.components = {name: list(group.values()) for name, group in groups.items()}
        plain, hidden = [], []
        for component, group in groups.items():
            is_seeing = component != "decoder" and schedule.matrices is not None
            inner = {n for n, p in group.items() if is_seeing and _is_hidden_matrix(n, p)}
            rest = [p for n, p in group.items() if n not in inner]
            if rest:
                plain.append({"params": rest, "rate": component})
            hidden += [p for n, p in group.items() if n in inner]
        self.optimizers: list[Optimizer] = [
            AdamW(plain, betas=(0.9, 0.95), eps=1e-6, weight_decay=schedule.weight_decay)
        ]
        if hidden:
            matrices = {"params": hidden, "rate": "matrices"}
            self.optimizers.append(Muon([matrices], weight_decay=schedule.weight_decay))
        self._owners = {
            parameter: optimizer
            for optimizer in self.optimizers
            for group in optimizer.param_groups
            for parameter in group["params"]
        }

    def norms(self) -> dict[str, Tensor]:
        """The length of each component's gradient."""
        return {
            name: whole(nn.utils.get_total_norm(_gradients(parameters)))
            for name, parameters in self.components.items()
        }

    def step(self, step: int, norms: dict[str, Tensor]) -> None:
        """Clips the gradients, of which the norms are known, and moves the weights."""
        for name, parameters in self.components.items():
            nn.utils.clip_grads_with_norm_(parameters, self.schedule.clip, norms[name])
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                rate = self.schedule.rate_of(group["rate"])
                group["lr"] = learning_rate(rate, step, self.schedule)
            optimizer.step()

    def parameters(self) -> Iterator[nn.Parameter]:
        for parameters in self.components.values():
            yield from parameters

    def zero_grad(self) -> None:
        for optimizer in self.optimizers:
            optimizer.zero_grad()

    def memory(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        """What its optimizer remembers of a parameter, to be read or filled; empty at first."""
        found: dict[str, Tensor] = self._owners[parameter].state[parameter]
        return found


def component_parameters(model: nn.Module) -> dict[str, dict[str, nn.Parameter]]:
    """The published split of what is trained: connector with the new embeddings, ViT, the rest."""
    groups: dict[str, dict[str, nn.Parameter]] = {name: {} for name in COMPONENTS}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if "image_vit" in name:
            groups["vit"][name] = parameter
        elif name.endswith("new_embedding") or any(part in name for part in _CONNECTOR):
            groups["connector"][name] = parameter
        else:
            groups["decoder"][name] = parameter
    return groups


def learning_rate(rate: Rate, step: int, schedule: Schedule) -> float:
    """Linear warm-up from zero, cosine down to the final share of the peak, cool-down to zero."""
    if step < rate.warmup:
        return rate.peak * step / rate.warmup
    low, cold = schedule.final, schedule.steps - schedule.cooldown
    if schedule.cooldown and step > cold:
        return rate.peak * low * max(0, schedule.steps - step) / schedule.cooldown
    done = min(1.0, (step - rate.warmup) / max(1, cold - rate.warmup))
    return rate.peak * (low + (1 - low) * (1 + math.cos(math.pi * done)) / 2)


def _gradients(parameters: list[nn.Parameter]) -> list[Tensor]:
    return [p.grad for p in parameters if p.grad is not None]


def _is_hidden_matrix(name: str, parameter: torch.Tensor) -> bool:
    """Whether a parameter maps features to features; pixels, words and places are no features."""
    return parameter.ndim == 2 and not name.endswith(_TABLES)
