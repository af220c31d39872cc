"""Drops out what attention and MLP add to the residual stream: everywhere, or where answers are.

Which values are dropped depends on torch's generator alone, which the trainer seeds for every
micro-batch: a resumed run drops the same.

B rows, T tokens, D width
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from molmo_model.decoder import MLP, Attention, Experts
from molmo_model.molmo import Molmo


@dataclass(frozen=True, kw_only=True)
class Dropout:
    """How much is dropped, and whether only on tokens that are learned (the first stage)."""

    rate: float = 0.1
    answers_only: bool = False


@dataclass
class _Where:
    """(B, T) bool, the tokens on which values are dropped; None: on all."""

    tokens: Tensor | None = None


class _Branch(nn.Module):
    """Stands where a branch joins the residual stream."""

    def __init__(self, rate: float, where: _Where):
        super().__init__()
        self.rate, self.where = rate, where

    def forward(self, branch: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        dropped = functional.dropout(branch, self.rate, self.training)
        if self.where.tokens is None:
            return dropped
        return torch.where(self.where.tokens[..., None], dropped, branch)


class Dropping:
    """The dropout of one model."""

    def __init__(self, model: Molmo, config: Dropout):
        self.config, self._where = config, _Where()
        for module in model.transformer.modules():
            if isinstance(module, (Attention, MLP, Experts)):
                module.branch = _Branch(config.rate, self._where)

    def aim(self, weights: Tensor) -> None:
        """Says which tokens the next pass learns: loss weights (B, T)."""
        self._where.tokens = weights > 0 if self.config.answers_only else None
