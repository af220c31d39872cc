"""Scaled dot-product attention, the one place where it is computed.

B batch, H heads, T queries, S keys, head width of a head
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """(B, H, T, head), (B, H, S, head) twice -> (B, H, T, head); mask (B or 1, 1, T, S) bool."""
    if torch.is_grad_enabled() and q.device.type == "cpu":
        return _attend_plainly(q, k, v, mask)
    return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def _attend_plainly(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """The same sum without fusion: the backward pass of torch's fused CPU kernel is slower."""
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if mask is not None:
        scores = scores + torch.zeros_like(mask, dtype=scores.dtype).masked_fill(~mask, -torch.inf)
    return scores.softmax(-1).to(v.dtype) @ v
