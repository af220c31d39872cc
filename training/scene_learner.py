"""How a small Molmo learns from scenes: answers, and the auxiliary loss of the pictures.

B pictures, T tokens, Q cells per crop, D width of the decoder
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import functional_call

from molmo_model.molmo import Molmo, place
from molmo_training.alignment import Alignment
from molmo_training.batches import Batch
from molmo_training.learner import Learner, Losses
from molmo_training.loss import summed_loss


class SceneLearner(Learner):
    """A Molmo and what is dropped after its training."""

    def __init__(self, model: Molmo, alignment: Alignment):
        super().__init__(model)
        self.alignment = alignment

    def losses(self, batch: Batch) -> Losses:
        """The summed loss of the answers and the alignment's, a mean.

        Products and the weights of what sees are rounded to bfloat16; the decoder's residual
        stream, where words are small beside pictures, stays in float32.
        """
        rounded = {name: p.bfloat16() for name, p in self.named_parameters() if "vision" in name}
        with torch.autocast("cpu", torch.bfloat16):
            answers, aligned = functional_call(self, rounded, (batch,))
        return Losses(answers, aligned)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """See losses."""
        seen = self._see(batch)
        features = self.model.vision_backbone.connect(seen, batch.masks[:, 0]).float()
        aligned = self.alignment(features, self.model.transformer.wte.embedding, batch.labels)
        again = self.model.vision_backbone.connect(seen, batch.masks[:, 1]).float()
        return self._answer_loss(batch, torch.stack([features, again], dim=1)), aligned

    def _see(self, batch: Batch) -> Tensor:
        """The ViT on pictures of one tile: both crops are equal, one is looked at."""
        backbone = self.model.vision_backbone
        crops = batch.crops.to(backbone.image_vit.patch_embedding.weight.dtype)
        features: Tensor = backbone.see(crops)
        return features

    def _answer_loss(self, batch: Batch, features: Tensor) -> Tensor:
        """Features (B, 2, Q, D) to a sum; the head runs only where something is learned."""
        ids = torch.from_numpy(batch.text.ids)
        hidden = self.model.hidden_states(
            ids,
            place(features, batch.index, ids.shape[1]),
            position_ids=torch.from_numpy(batch.text.positions),
            segment_ids=torch.from_numpy(batch.text.segments),
        )
        weights = torch.from_numpy(batch.text.weights)
        learned = weights > 0
        logits = self.model.transformer.ff_out(hidden[learned])
        return summed_loss(logits, torch.from_numpy(batch.text.targets)[learned], weights[learned])
