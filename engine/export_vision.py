"""Writes the picture half of Molmo as a graph: ViT, padding embedding, pooling, projector.

In: crops and masks as `molmo_model.image` makes them, and per token the pooled patch it shows.
Out: features placed per token, zero rows where a token shows nothing. Geometry comes from the
config and the weights, never from constants.

C crops, P patches per crop, Q pooled patches per crop, T tokens, W ViT width,
F feature width (all chosen ViT layers side by side), D decoder width
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from molmo_engine.export_graph import HIDDEN
from molmo_engine.export_ops import Dialect
from molmo_engine.export_weights import Array, Source, joined
from molmo_model.config import MolmoConfig

PREFIX = "vision_backbone."


def write_vision(g: Dialect, weights: Mapping[str, Source], config: MolmoConfig) -> None:
    """Fills the graph `g`."""
    crops = config.crops
    w = _Weights(weights)
    pixels = g.input("crops", ["crops", crops.patches, crops.patch_values], g.dtype)
    masks = g.input("masks", ["views", crops.patches], np.float32)
    source = g.input("source", ["tokens"], np.int64)  # 1 + flat (crop, pooled patch); 0 = none
    features = _vit(g, w, config, pixels)
    features = g.op("Add", features, _padding(g, w, masks))
    pooled = _pool(g, w, config, features)
    placed = _place(g, config, pooled, source)
    g.output("features", _project(g, w, placed), ["tokens", config.decoder.width], g.dtype)


class _Weights:
    """Looks tensors up by their name below the vision backbone."""

    def __init__(self, tensors: Mapping[str, Source]) -> None:
        self._tensors = tensors

    def __getitem__(self, name: str) -> Source:
        return self._tensors[PREFIX + name]

    def linear(self, *names: str) -> tuple[Source, Source]:
        """Linear layers side by side as one: weight (in, all outs), bias (all outs,)."""
        weight = joined([self[f"{name}.weight"] for name in names])
        return weight.T, joined([self[f"{name}.bias"] for name in names])


def _vit(g: Dialect, w: _Weights, config: MolmoConfig, pixels: str) -> str:
    """(C, P, 588) -> (C, P, F): the chosen layers, without the class token."""
    vit = config.vision
    x = g.linear(pixels, "vit.patches", w["image_vit.patch_embedding.weight"].T)
    # The class token is a zero row in front, to which its embedding comes with its position.
    x = g.op("Pad", x, g.ints(0, 1, 0, 0, 0, 0))
    x = g.op("Add", x, g.weight("vit.positions", _positions(w)))
    pre = "image_vit.pre_ln"
    x = g.layer_norm(x, "vit.pre_ln", w[f"{pre}.weight"], w[f"{pre}.bias"], vit.norm_eps)
    outputs = []
    for layer in range(vit.depth_used):
        x = g.named(_block(g, w, config, x, layer), f"{HIDDEN}{layer}")
        outputs.append(x)
    chosen = [outputs[layer % vit.layers] for layer in vit.features]
    features = g.op("Concat", *chosen, axis=-1)
    return g.op("Slice", features, g.ints(1), g.ints(config.crops.patches + 1), g.ints(1))


def _positions(w: _Weights) -> Source:
    """The embedding of every position, the class token's own in the first: (P + 1, W)."""
    table, token = w["image_vit.positional_embedding"], w["image_vit.class_embedding"]

    def make() -> Array:
        rows: Array = table.make().copy()
        rows[0] += token.make()
        return rows

    return Source(table.shape, make)


def _block(g: Dialect, w: _Weights, config: MolmoConfig, x: str, layer: int) -> str:
    vit = config.vision
    source, name = f"image_vit.transformer.resblocks.{layer}", f"vit.{layer}"

    def norm(x: str, part: str) -> str:
        scale, shift = w[f"{source}.{part}.weight"], w[f"{source}.{part}.bias"]
        return g.layer_norm(x, f"{name}.{part}", scale, shift, vit.norm_eps)

    parts = [f"{source}.attention.{part}" for part in ("wq", "wk", "wv")]
    qkv = g.linear(norm(x, "attention_norm"), f"{name}.qkv", *w.linear(*parts))
    mixed = _attention(g, qkv, vit.heads, vit.head_dim)
    x = g.op("Add", x, g.linear(mixed, f"{name}.out", *w.linear(f"{source}.attention.wo")))
    y = g.linear(norm(x, "ffn_norm"), f"{name}.up", *w.linear(f"{source}.feed_forward.w1"))
    gate = g.op("Sigmoid", g.op("Mul", y, g.constant(1.702, g.dtype)))  # quick GELU
    y = g.linear(g.op("Mul", y, gate), f"{name}.down", *w.linear(f"{source}.feed_forward.w2"))
    return g.op("Add", x, y)


def _attention(g: Dialect, qkv: str, heads: int, width: int) -> str:
    """Every token of a crop looks at every other: (C, T, 3 * W) -> (C, T, W)."""
    qkv = g.split_heads(qkv, 3 * heads, width)
    q, k, v = g.ops("Split", 3, qkv, axis=1, num_outputs=3)
    return g.merge_heads(g.attend(q, k, v, (heads, heads, width)), heads * width)


def _padding(g: Dialect, w: _Weights, masks: str) -> str:
    """What padding adds to the features: (C, P) -> (C, P, F).

    Row 0 where a patch is all padding (0), row 1 where it is below 1 otherwise (also -1).
    """
    rows = w["pad_embed"]
    table = joined([rows, Source.of(np.zeros((1, rows.shape[1]), np.float32))])
    whole = g.op("Equal", masks, g.constant(0, np.float32))
    partly = g.op("Less", masks, g.constant(1, np.float32))
    row = g.op("Where", partly, g.constant(1, np.int64), g.constant(2, np.int64))
    row = g.op("Where", whole, g.constant(0, np.int64), row)
    return g.op("Gather", g.weight("connector.padding", table), row, axis=0)


def _pool(g: Dialect, w: _Weights, config: MolmoConfig, x: str) -> str:
    """Attention of each window's mean over its patches: (C, P, F) -> (C * Q, 1, W)."""
    vit, crops = config.vision, config.crops
    side, pool, width = crops.pooled_per_side, crops.pool, vit.feature_width
    x = g.op("Reshape", x, g.ints(-1, side, pool, side, pool, width))
    x = g.op("Transpose", x, perm=[0, 1, 3, 2, 4, 5])
    x = g.op("Reshape", x, g.ints(-1, pool * pool, width))
    mean = g.op("ReduceMean", x, g.ints(1), keepdims=1)
    name = "image_pooling_2d"
    q = g.linear(mean, "connector.query", *w.linear(f"{name}.wq"))
    kv = g.linear(x, "connector.keys", *w.linear(f"{name}.wk", f"{name}.wv"))
    q = g.split_heads(q, vit.heads, vit.head_dim)
    kv = g.split_heads(kv, 2 * vit.heads, vit.head_dim)
    k, v = g.ops("Split", 2, kv, axis=1, num_outputs=2)
    mixed = g.attend(q, k, v, (vit.heads, vit.heads, vit.head_dim))
    mixed = g.merge_heads(mixed, vit.heads * vit.head_dim)
    return g.linear(mixed, "connector.out", *w.linear(f"{name}.wo"))


def _place(g: Dialect, config: MolmoConfig, pooled: str, source: str) -> str:
    """Lays the pooled patches along the tokens: (C * Q, 1, W), (T,) -> (T, W).

    It comes before the projector, which has no bias and so keeps zero rows zero: overlapping
    patches that no token shows are never projected.
    """
    width = config.vision.width
    rows = g.op("Reshape", pooled, g.ints(-1, width))
    zero = g.constant(np.zeros((1, width)), g.dtype)
    return g.op("Gather", g.op("Concat", zero, rows, axis=0), source, axis=0)


def _project(g: Dialect, w: _Weights, x: str) -> str:
    """w2(silu(w1 x) * w3 x): (T, W) -> (T, D)."""
    name = "image_projector"
    both = joined([w[f"{name}.w1.weight"], w[f"{name}.w3.weight"]])
    gate, up = g.halves(g.linear(x, "connector.up", both.T))
    hidden = g.op("Mul", g.silu(gate), up)
    return g.linear(hidden, "connector.down", w[f"{name}.w2.weight"].T)
