"""What training costs: operations of a step, and the memory that a process needs.

Computed from shapes, not measured. Operations are those of the model (recomputing a layer for its
gradient is not counted), so that they can be compared with what a GPU could do.

N crops, P patches, Q pooled patches, T tokens of a row, D width
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from molmo_model.config import MolmoConfig
from molmo_model.decoder import Expert
from molmo_model.weights import empty_model
from molmo_training.packing import Packed

# Dense bfloat16, operations a second, as their maker states them.
PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "RTX 4090": 165e12}
_PASSES = 3  # the backward pass costs two forward passes
GB = 1e9


@dataclass(frozen=True)
class Work:
    """What a step read.

    tokens:  without padding; learned: those with a weight in the loss
    pairs:   of tokens that attention compares
    crops:   that the ViT saw; pictures: rows
    """

    tokens: float = 0
    learned: float = 0
    pairs: float = 0
    crops: float = 0
    pictures: float = 0


def work_of(text: Packed, crops: object) -> Work:
    """The work of a micro-batch; crops (..., P, 588)."""
    shape = getattr(crops, "shape", ())
    rows, length = text.ids.shape
    return Work(
        tokens=float((text.ids >= 0).sum()),
        learned=float((text.weights > 0).sum()),
        pairs=float(rows * length**2),
        crops=float(np.prod(shape[:-2])),
        pictures=float(rows),
    )


def operations(config: MolmoConfig, work: Work) -> float:
    """Multiplications and additions of a step, forward and backward."""
    decoder, vision, crops = config.decoder, config.vision, config.crops
    model = empty_model(config)
    blocks, backbone = model.transformer.blocks, model.vision_backbone
    per_token = _matrices(blocks)
    if decoder.experts is not None:
        idle = 1 - decoder.experts.chosen / decoder.experts.count
        experts = [part for part in blocks.modules() if isinstance(part, Expert)]
        per_token -= int(idle * sum(_matrices(one) for one in experts))
    per_learned = decoder.embedding_size * decoder.width
    seen = backbone.image_vit.transformer.resblocks[: vision.depth_used]
    patches = crops.patches + 1
    per_crop = (_matrices(seen) + crops.patch_values * vision.width) * patches
    per_crop += 2 * vision.depth_used * vision.width * patches**2
    per_crop += crops.patches * _matrices(backbone.image_pooling_2d)
    per_crop += crops.pooled * _matrices(backbone.image_projector)
    products = work.tokens * per_token + work.learned * per_learned + work.crops * per_crop
    products += 2 * work.pairs * decoder.layers * decoder.width
    return 2.0 * _PASSES * products


def peak(device: torch.device) -> float | None:
    """What a device could do in a second, if it is a GPU that we know."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((value for known, value in PEAKS.items() if known in name), None)


@dataclass(frozen=True)
class Memory:
    """Bytes of one process.

    weights:     weights, gradients and two moments, all float32, its part of them
    gathered:    the largest group of weights that meets at once, with its gradient
    activations: what layers keep for the backward pass: their inputs, and one layer's all
    head:        logits of the learned tokens, their gradient, and the loss between
    """

    weights: float
    gathered: float
    activations: float
    head: float

    @property
    def total(self) -> float:
        return self.weights + self.gathered + self.activations + self.head


def memory(
    config: MolmoConfig, *, ranks: int, rows: int, length: int, crops: int, learned: int
) -> Memory:
    """Of full training with a checkpoint at every layer.

    rows: sequences of a micro-batch; length: their tokens; crops, learned: of one sequence
    """
    decoder, vision = config.decoder, config.vision
    model = empty_model(config)
    total = sum(p.numel() for p in model.parameters())
    parts = [*model.transformer.blocks, model.transformer.ff_out, model.transformer.wte]
    largest = max(sum(p.numel() for p in part.parameters()) for part in parts)
    tokens, patches = rows * length, rows * crops * (config.crops.patches + 1)
    kept = 4 * (tokens * decoder.width * decoder.layers)
    kept += 4 * patches * vision.width * vision.depth_used
    hidden = decoder.mlp * (decoder.experts.chosen if decoder.experts else 1)
    one_layer = 2 * tokens * (8 * decoder.width + 4 * hidden)
    one_vit_layer = 2 * patches * (8 * vision.width + 3 * vision.mlp)
    return Memory(
        weights=16 * total / ranks,
        gathered=8 * largest if ranks > 1 else 0,
        activations=kept + max(one_layer, one_vit_layer),
        head=4 * 3 * rows * learned * decoder.embedding_size,
    )


def _matrices(module: nn.Module) -> int:
    """Weights that multiply something."""
    return sum(p.numel() for p in module.parameters() if p.ndim == 2)
