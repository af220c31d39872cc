"""The loss of Molmo: weighted cross entropy with a z-loss, summed.

Sums, not means: the caller divides by the weight of the whole global batch, so that micro-batches
and processes do not change the result.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

Z_LOSS = 1e-4  # keeps the logits near zero


def summed_loss(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Sum of weight * (cross entropy + 1e-4 * logsumexp^2), in float32.

    logits (N, V), targets (N,) int64, weights (N,); targets of weight 0 may be any id.
    """
    logits = logits.float()
    targets = targets.masked_fill(weights <= 0, 0)
    entropy = functional.cross_entropy(logits, targets, reduction="none")
    size = torch.logsumexp(logits, dim=-1)
    return (weights.clamp(min=0) * (entropy + Z_LOSS * size.square())).sum()
