"""What a training step differentiates: the answers' loss, and the auxiliary loss of the pictures.

B pictures, T tokens, Q cells per crop, D width of the decoder
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from molmo_model.molmo import Molmo, place
from molmo_training.alignment import Alignment
from molmo_training.batches import Batch
from molmo_training.loss import summed_loss


class Learner(nn.Module):
    """A Molmo and what is dropped after its training."""

    def __init__(self, model: Molmo, alignment: Alignment):
        super().__init__()
        self.model, self.alignment = model, alignment

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The summed loss of the answers and the alignment's, a mean."""
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
