"""How much memory a model takes on a device, before and while it is loaded or compiled.

What can be counted is counted: weights and caches. Activations are estimated from the widest
layers; TensorRT decides what it really keeps. Knows no TensorRT.

T tokens of a prompt, S cache rows, C crops, P patches per crop, D width, F hidden width of the MLP
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from molmo_engine.bundle import WEIGHTS, Bundle, GraphSpec
from molmo_engine.runtime import STEP
from molmo_engine.trt_numbers import numpy_type

PREFILL = 2048  # the most tokens of a prompt that are read at once; longer ones take more runs

# Of the compiling process, measured with tensorrt_rtx 1.7.1: itself, and per byte of weights.
BUILDER = 600_000_000
EMBEDDING_COPIES = 3


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes on the device."""

    weights: int
    caches: int
    activations: int

    @property
    def total(self) -> int:
        return self.weights + self.caches + self.activations

    def __str__(self) -> str:
        parts = ("weights", "caches", "activations")
        named = ", ".join(f"{part} {getattr(self, part) / 1e9:.2f}" for part in parts)
        return f"{self.total / 1e9:.2f} GB ({named})"


def running_memory(bundle: Bundle, dialect: str) -> Memory:
    """What answering takes, estimated."""
    return Memory(
        weights=bundle.path(WEIGHTS).stat().st_size,
        caches=_cache_bytes(bundle.graph("decoder", dialect)),
        activations=max(_vision_bytes(bundle, dialect), _decoder_bytes(bundle, dialect)),
    )


def building_bytes(bundle: Bundle, is_embedded: bool) -> int:
    """What compiling takes of the computer's own memory."""
    stored = bundle.path(WEIGHTS).stat().st_size
    return BUILDER + (EMBEDDING_COPIES * stored if is_embedded else 0)


def _cache_bytes(decoder: GraphSpec) -> int:
    """Keys and values of all layers."""
    return sum(
        int(np.prod([int(size) for size in spec.shape])) * numpy_type(spec.dtype).itemsize
        for spec in decoder.inputs
        if is_cache(spec.name)
    )


def is_cache(name: str) -> bool:
    """Whether an input of the decoder is keys or values of a layer."""
    return name.startswith(("keys.", "values."))


def _decoder_bytes(bundle: Bundle, dialect: str) -> int:
    """Reading a prompt: the MLP of one layer (T, 3 F), the stream (T, 4 D), mask and logits.

    Decoding with experts may take more: each of its few tokens gathers the weights of its own.
    """
    config, size = bundle.config.decoder, _itemsize(bundle, dialect)
    tokens, rows = min(PREFILL, bundle.manifest.capacity), bundle.manifest.capacity
    hidden, gathered = config.mlp, 0
    if config.experts:
        hidden *= config.experts.count
        gathered = STEP * config.experts.chosen * 3 * config.width * config.mlp * size
    scores = 1 if _is_fused(size, dialect) else 2 * config.heads  # masks alone, or all heads' too
    per_token = 3 * hidden + 4 * config.width + scores * rows
    return max(tokens * per_token * size, gathered) + STEP * config.embedding_size * 4


def _vision_bytes(bundle: Bundle, dialect: str) -> int:
    """All crops at once: the MLP of one layer (C, P, F), the stream, the layers that are kept."""
    vision, crops = bundle.config.vision, bundle.config.crops
    size = _itemsize(bundle, dialect)
    patches = crops.patches + 1
    scores = 0 if _is_fused(size, dialect) else 2 * vision.heads
    per_patch = vision.mlp + 4 * vision.width + vision.feature_width + scores * patches
    return (1 + crops.max_crops) * patches * per_patch * size


def _itemsize(bundle: Bundle, dialect: str) -> int:
    return numpy_type(bundle.graph("decoder", dialect).inputs[0].dtype).itemsize


def _is_fused(itemsize: int, dialect: str) -> bool:
    """Whether attention is one operation, which keeps no scores (T, S) per head."""
    return itemsize == 2 and dialect == "native"
