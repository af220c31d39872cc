"""Chooses the next token from logits: the likeliest, or one drawn at random.

B batch, V vocabulary
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How to draw. The same seed draws the same tokens on the same hardware."""

    temperature: float = 1.0  # below 1 sharper, above 1 flatter
    top_p: float = 1.0  # draw from the fewest tokens that together have this probability
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuses what cannot be drawn from."""
        if self.temperature <= 0 or not 0 < self.top_p <= 1:
            raise ValueError(
                f"temperature {self.temperature} and top_p {self.top_p}: wanted a positive "
                "temperature and 0 < top_p <= 1; for the likeliest token leave sampling out"
            )


class Chooser:
    """Chooses tokens for one run of generation."""

    def __init__(self, sampling: Sampling | None, device: torch.device):
        self.sampling = sampling
        self.generator = torch.Generator(device)
        if sampling is not None:
            self.generator.manual_seed(sampling.seed)

    def choose(self, logits: Tensor) -> Tensor:
        """Logits (B, V) -> tokens (B,)."""
        if self.sampling is None:
            return logits.argmax(-1)
        shares = (logits.float() / self.sampling.temperature).softmax(-1)
        ranked, order = shares.sort(dim=-1, descending=True)
        is_kept = ranked.cumsum(-1) - ranked < self.sampling.top_p  # the first one always is
        drawn = torch.multinomial(ranked * is_kept, 1, generator=self.generator)
        return order.gather(-1, drawn)[:, 0]
