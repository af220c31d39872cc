"""Scaled dot-product attention, the one place where it is computed.

B batch, H heads, K key-value heads (each serves H / K consecutive heads), T queries, S keys
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def attend(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *, widen: bool = False
) -> Tensor:
    """(B, H, T, head), (B, K, S, head) twice -> (B, H, T, head); mask (B or 1, 1, T, S) bool.

    widen: scores in float32, whatever comes in; training on the CPU, where that is slow, rounds
    """
    if torch.is_grad_enabled() and q.device.type == "cpu":
        return _attend_plainly(q, k, v, mask)
    if widen:
        return attend(q.float(), k.float(), v.float(), mask).to(v.dtype)
    is_grouped = q.shape[1] != k.shape[1]
    return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=is_grouped)


def _attend_plainly(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """The same sum without fusion: the backward pass of torch's fused CPU kernel is slower."""
    shared = q.shape[1] // k.shape[1]
    k, v = (t.repeat_interleave(shared, dim=1) for t in (k, v))
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if mask is not None:
        scores = scores + torch.zeros_like(mask, dtype=scores.dtype).masked_fill(~mask, -torch.inf)
    return scores.softmax(-1) @ v
