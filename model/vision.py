"""The eye of Molmo: a CLIP ViT over the patches of each crop, and the connector to the decoder.

Knows nothing of pixels and crops (see image.py) nor of text: flattened patches in, features in
the decoder's width out. Module names are those of the published checkpoints.

N crops, P patches per crop, Q pooled patches per crop, W width of the ViT, F feature width,
D width of the decoder
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from molmo_model.attention import attend
from molmo_model.config import CropConfig, MolmoConfig, VisionConfig


class VisionBackbone(nn.Module):
    """ViT, padding embedding, 2 x 2 attention pooling and projector."""

    def __init__(self, config: MolmoConfig):
        super().__init__()
        self.crops = config.crops
        self.image_vit = VisionTransformer(config.vision, config.crops)
        self.pad_embed = nn.Parameter(torch.zeros(2, config.vision.feature_width))
        self.image_pooling_2d = Pooling(config.vision)
        self.image_projector = Projector(
            config.vision.width, config.decoder.mlp, config.decoder.width
        )

    def forward(self, crops: Tensor, masks: Tensor) -> Tensor:
        """Crops (N, P, 588), masks (N, P) -> (N, Q, D)."""
        return self.connect(self.see(crops), masks)

    def see(self, crops: Tensor) -> Tensor:
        """The ViT alone: (N, P, 588) -> (N, P, F).

        A crop that is -1 everywhere is padding of a batch: its features are zeroed.
        """
        is_real = ~(crops == -1).all(dim=-1).all(dim=-1)
        return self.image_vit(crops) * is_real[:, None, None]

    def connect(self, features: Tensor, masks: Tensor) -> Tensor:
        """The connector: features (N, P, F), masks (N, P) -> (N, Q, D)."""
        features = features + self.padding_embedding(masks).to(features.dtype)
        return self.image_projector(self.image_pooling_2d(self.windows(features)))

    def padding_embedding(self, masks: Tensor) -> Tensor:
        """What is added to the features of (partly) padded patches: (N, P) -> (N, P, F).

        Masks of -1 count as partial, as in the published model.
        """
        is_empty = (masks == 0)[..., None]
        is_partial = ((masks < 1) & (masks != 0))[..., None]
        return is_empty * self.pad_embed[0] + is_partial * self.pad_embed[1]

    def windows(self, features: Tensor) -> Tensor:
        """Groups the patches of pooling windows, row by row: (N, P, F) -> (N, Q, 4, F)."""
        count, _, width = features.shape
        side, pool = self.crops.pooled_per_side, self.crops.pool
        cells = features.reshape(count, side, pool, side, pool, width).transpose(2, 3)
        return cells.reshape(count, side * side, pool * pool, width)


class VisionTransformer(nn.Module):
    """CLIP's ViT without its last block and final norm."""

    def __init__(self, config: VisionConfig, crops: CropConfig):
        super().__init__()
        self.config = config
        self.class_embedding = nn.Parameter(torch.zeros(config.width))
        self.positional_embedding = nn.Parameter(torch.zeros(crops.patches + 1, config.width))
        self.patch_embedding = nn.Linear(crops.patch_values, config.width, bias=False)
        self.pre_ln = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.transformer = VisionBlocks(config)

    def forward(self, patches: Tensor) -> Tensor:
        """(N, P, 588) -> (N, P, F): outputs of the chosen blocks side by side, no class token."""
        x = self.patch_embedding(patches)
        first = self.class_embedding.expand(len(x), 1, -1).to(x.dtype)
        x = self.pre_ln(torch.cat([first, x], dim=1) + self.positional_embedding)
        outputs = self.transformer(x)
        chosen = [outputs[layer % self.config.layers] for layer in self.config.features]
        return torch.cat(chosen, dim=-1)[:, 1:]


class VisionBlocks(nn.Module):
    """The blocks one after the other, as far as anybody reads their outputs."""

    def __init__(self, config: VisionConfig):
        super().__init__()
        self.used = config.depth_used
        self.resblocks = nn.ModuleList(VisionBlock(config) for _ in range(config.layers))

    def forward(self, x: Tensor) -> list[Tensor]:
        outputs = []
        for block in self.resblocks[: self.used]:
            x = block(x)
            outputs.append(x)
        return outputs


class VisionBlock(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, config: VisionConfig):
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.attention = CrossAttention(config.width, config.width, config.heads, config.head_dim)
        self.ffn_norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.feed_forward = VisionMLP(config)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.attention_norm(x)
        x = x + self.attention(normed, normed)
        return x + self.feed_forward(self.ffn_norm(x))


class VisionMLP(nn.Module):
    """Two linear maps around CLIP's quick GELU."""

    def __init__(self, config: VisionConfig):
        super().__init__()
        self.w1 = nn.Linear(config.width, config.mlp)
        self.w2 = nn.Linear(config.mlp, config.width)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.w1(x)
        return self.w2(hidden * torch.sigmoid(1.702 * hidden))


class CrossAttention(nn.Module):
    """Multi-head attention of queries over keys, no mask."""

    def __init__(self, source: int, width: int, heads: int, head_dim: int):
        super().__init__()
        self.heads = heads
        self.wq = nn.Linear(source, heads * head_dim)
        self.wk = nn.Linear(source, heads * head_dim)
        self.wv = nn.Linear(source, heads * head_dim)
        self.wo = nn.Linear(heads * head_dim, width)

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        """(N, T, source), (N, S, source) -> (N, T, width); scores in float32 as published."""
        q, k, v = (
            linear(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for linear, x in ((self.wq, queries), (self.wk, keys), (self.wv, keys))
        )
        return self.wo(attend(q, k, v, widen=True).transpose(1, 2).flatten(-2))


class Pooling(CrossAttention):
    """Each window of patches becomes one vector; the query is the mean of the window."""

    def __init__(self, config: VisionConfig):
        super().__init__(config.feature_width, config.width, config.heads, config.head_dim)

    def forward(self, windows: Tensor) -> Tensor:  # type: ignore[override]
        """(N, Q, 4, F) -> (N, Q, W)."""
        flat = windows.flatten(0, 1)
        return (
            super()
            .forward(flat.mean(1, keepdim=True), flat)
            .unflatten(0, windows.shape[:2])[:, :, 0]
        )


class Projector(nn.Module):
    """SiLU-gated MLP from the ViT's width to the decoder's."""

    def __init__(self, source: int, hidden: int, width: int):
        super().__init__()
        self.w1 = nn.Linear(source, hidden, bias=False)
        self.w2 = nn.Linear(hidden, width, bias=False)
        self.w3 = nn.Linear(source, hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(functional.silu(self.w1(x)) * self.w3(x))
