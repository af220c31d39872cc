"""Start values for a small Molmo that is trained from nothing.

N patches, W width of the ViT
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from molmo_model.molmo import Molmo

_FAINT = 0.01  # variance below which a direction of the patches is noise
_WAVES = 0.7  # size of the places beside patches of size 1


def initialise(model: Molmo, patches: Tensor) -> None:
    """Random weights: matrices keep the size of what they multiply; patches (N, 588) of pictures.

    The published values (normal, 0.02) start from pretrained towers; from nothing, and this
    narrow, the place of a patch would drown in its colours, and its edges too.
    """
    for name, parameter in model.named_parameters():
        if name.endswith("embedding"):
            nn.init.normal_(parameter, std=0.1)
        elif parameter.ndim == 2:
            is_last = name.endswith(("attn_out.weight", "ff_out.weight", "w2.weight", "wo.weight"))
            nn.init.normal_(parameter, std=(0.5 if is_last else 1.0) * parameter.shape[1] ** -0.5)
        elif name.endswith(".bias"):
            nn.init.zeros_(parameter)
    nn.init.normal_(model.transformer.ff_out.weight, std=0.02)
    nn.init.zeros_(model.vision_backbone.pad_embed)
    vit, side = model.vision_backbone.image_vit, model.config.crops.patches_per_side
    width = model.config.vision.width
    with torch.no_grad():
        mean, directions = patches.mean(0), whitened(patches, width)
        vit.patch_embedding.weight.copy_(directions)
        vit.positional_embedding[1:] = waves(side, width) - directions @ mean


def whitened(patches: Tensor, width: int) -> Tensor:
    """A matrix that makes the strongest directions of patches equally strong: (W, 588).

    Most of what patches differ in is their colour. Shapes are seen in the rest, which random
    directions would hardly see. (Whitening as in Coates and Ng 2012, a random turn behind it.)
    """
    centred = (patches - patches.mean(0)).double()
    strengths, directions = torch.linalg.eigh(centred.T @ centred / len(patches))
    strongest = directions[:, -width:] / (strengths[-width:] + _FAINT).sqrt()
    turn, _ = torch.linalg.qr(torch.randn(width, width, dtype=torch.float64))
    return (turn @ strongest.T).float()


def waves(side: int, width: int) -> Tensor:
    """Sines and cosines of a patch's column and row: (side * side, width).

    Neighbours start alike, so what is learned in one place holds next to it.
    """
    speeds = torch.logspace(math.log10(0.5 / side), math.log10(0.5), width // 4) * math.pi
    angles = torch.arange(side)[:, None] * speeds
    line = torch.cat([angles.sin(), angles.cos()], dim=1)  # (side, width / 2)
    columns, rows = line.repeat(side, 1), line.repeat_interleave(side, dim=0)
    return _WAVES * torch.cat([columns, rows], dim=1)
