"""What a training step differentiates: the loss of the answers in packed rows.

B rows, T tokens, C crops, P patches, Q pooled patches
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from molmo_model.molmo import Molmo, place
from molmo_training.dropout import Dropout, Dropping
from molmo_training.examples import ExampleBatch
from molmo_training.loss import summed_loss
from molmo_training.packing import Packed


@dataclass(frozen=True)
class Losses:
    """Of one micro-batch.

    answers:   a sum, which the trainer divides by the weight of the whole batch
    auxiliary: a mean, which it averages over micro-batches; None where there is none
    """

    answers: Tensor
    auxiliary: Tensor | None = None


class Shaped(Protocol):
    """An array or a tensor."""

    @property
    def shape(self) -> Sequence[int]: ...


class MicroBatch(Protocol):
    """The part of a batch that one process reads at once.

    skipped: pictures that could not be had, which others stand in for
    """

    @property
    def text(self) -> Packed: ...

    @property
    def crops(self) -> Shaped: ...

    @property
    def skipped(self) -> int: ...


Step = Sequence[MicroBatch]  # what one process reads in one step


class Learner(nn.Module):
    """A Molmo, and how it learns."""

    def __init__(self, model: Molmo):
        super().__init__()
        self.model = model

    def losses(self, batch: Any) -> Losses:
        """What to differentiate of a micro-batch."""
        raise NotImplementedError


class PackedLearner(Learner):
    """Learns from packed rows, as published."""

    def __init__(self, model: Molmo, *, dropout: Dropout | None = None, mixed: bool = True):
        """mixed: products in bfloat16; weights and their gradients stay in float32."""
        super().__init__(model)
        self.mixed = mixed
        self.dropping = Dropping(model, dropout) if dropout else None

    def losses(self, batch: ExampleBatch) -> Losses:
        device = self.model.transformer.ff_out.weight.device
        with torch.autocast(device.type, torch.bfloat16, enabled=self.mixed):
            return Losses(self(batch))

    def forward(self, batch: ExampleBatch) -> Tensor:
        """The summed loss; the head runs only where something is learned."""
        text, model = batch.text, self.model
        ids, weights = self._tensor(text.ids), self._tensor(text.weights)
        if self.dropping:
            self.dropping.aim(weights)
        seen = model.encode_image(self._tensor(batch.crops), self._tensor(batch.masks))
        hidden = model.hidden_states(
            ids,
            place(seen, self._tensor(batch.index), ids.shape[1]),
            position_ids=self._tensor(text.positions),
            segment_ids=self._tensor(text.segments),
        )
        learned = weights > 0
        logits = model.transformer.ff_out(hidden[learned])
        return summed_loss(logits, self._tensor(text.targets)[learned], weights[learned])

    def _tensor(self, array: npt.NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(array).to(self.model.transformer.ff_out.weight.device)
