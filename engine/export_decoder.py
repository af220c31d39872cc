"""Writes the language half of Molmo (Qwen2-like) as a graph with a static key/value cache.

In: embeddings with the image features added, their positions, the rows whose logits are wanted,
the caches. Out: logits and greedy tokens of those rows, the caches with the new rows in place
(bind each output to its input's memory). The mask comes from the positions: a token sees the
cache rows up to its own. Nothing here samples or stops.

T tokens, S cache rows (capacity), R rows asked for, D width, V vocabulary,
H query heads, G key/value heads, K head width
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from molmo_engine.export_graph import Array
from molmo_engine.export_ops import MASKED, Dialect
from molmo_model.config import DecoderConfig

PREFIX = "transformer."


def write_decoder(
    g: Dialect, weights: Mapping[str, Array], config: DecoderConfig, capacity: int
) -> None:
    """Fills the graph `g`."""
    w = {name.removeprefix(PREFIX): array for name, array in weights.items()}
    x = g.input("embeddings", [1, "tokens", config.width], g.dtype)
    positions = g.input("positions", [1, "tokens"], np.int64)
    rows = g.input("rows", ["rows"], np.int64)  # counted from the first token of this call
    shared = _shared(g, config, capacity, positions)
    cache_shape = [1, config.kv_heads, capacity, config.head_dim]
    written: dict[str, str] = {}
    for layer in range(config.layers):
        caches = [g.input(f"{kind}.{layer}", cache_shape, g.dtype) for kind in ("keys", "values")]
        mixed, *new = _attention(g, w, config, x, layer, shared, caches)
        x = g.op("Add", x, mixed)
        if layer == config.layers - 1:  # from here on only the rows asked for matter
            x = g.op("Gather", x, rows, axis=1)
        x = g.op("Add", x, _mlp(g, w, config, x, layer))
        written |= {f"new_keys.{layer}": new[0], f"new_values.{layer}": new[1]}
    _head(g, w, config, x)
    for name, tensor in written.items():
        g.output(name, tensor, cache_shape, g.dtype)


def _shared(g: Dialect, config: DecoderConfig, capacity: int, positions: str) -> dict[str, str]:
    """What every layer needs: positions, rotary tables (S, K / 2) and mask (1, 1, T, S)."""
    exponents = np.arange(0, config.head_dim, 2, dtype=np.float32) / np.float32(config.head_dim)
    speeds = np.float32(config.rope_theta) ** -exponents  # fp32 throughout, as published
    angles = np.arange(capacity, dtype=np.float32)[:, None] * speeds
    columns = g.constant(np.arange(capacity).reshape(1, 1, 1, -1), np.int64)
    own = g.op("Reshape", positions, g.ints(1, 1, -1, 1))
    seen = g.op("LessOrEqual", columns, own)
    return {
        "positions": positions,
        "cos": g.weight("decoder.cos", np.cos(angles)),
        "sin": g.weight("decoder.sin", np.sin(angles)),
        "mask": g.op("Where", seen, g.constant(0, g.dtype), g.constant(MASKED, g.dtype)),
    }


def _attention(
    g: Dialect,
    w: Mapping[str, Array],
    config: DecoderConfig,
    x: str,
    layer: int,
    shared: Mapping[str, str],
    caches: list[str],
) -> tuple[str, str, str]:
    """Attention over the cache: x (1, T, D) -> its update (1, T, D), new keys, new values."""
    heads, kv_heads, width = config.heads, config.kv_heads, config.head_dim
    name, block = f"decoder.{layer}", f"blocks.{layer}"
    x = _norm(g, f"{name}.attn_norm", w[f"{block}.attn_norm.weight"], config, x)
    weight, bias = w[f"{block}.att_proj.weight"], w[f"{block}.att_proj.bias"]
    qkv = g.split_heads(g.linear(x, f"{name}.qkv", weight.T, bias), heads + 2 * kv_heads, width)
    # Queries and keys turn alike, so they turn together.
    qk, v = g.ops("Split", 2, qkv, g.ints(heads + kv_heads, kv_heads), axis=1)
    qk = g.rotate(qk, shared["cos"], shared["sin"], shared["positions"])
    q, k = g.ops("Split", 2, qk, g.ints(heads, kv_heads), axis=1)
    keys = g.write_rows(caches[0], k, shared["positions"], kv_heads)
    values = g.write_rows(caches[1], v, shared["positions"], kv_heads)
    mixed = g.attend(q, keys, values, (heads, kv_heads, width), shared["mask"])
    mixed = g.merge_heads(mixed, config.width)
    return g.linear(mixed, f"{name}.out", w[f"{block}.attn_out.weight"].T), keys, values


def _mlp(g: Dialect, w: Mapping[str, Array], config: DecoderConfig, x: str, layer: int) -> str:
    """The first half of the fused projection goes up, the second half gates it."""
    name, block = f"decoder.{layer}", f"blocks.{layer}"
    x = _norm(g, f"{name}.ff_norm", w[f"{block}.ff_norm.weight"], config, x)
    up, gate = g.halves(g.linear(x, f"{name}.up", w[f"{block}.ff_proj.weight"].T))
    return g.linear(g.op("Mul", up, g.silu(gate)), f"{name}.down", w[f"{block}.ff_out.weight"].T)


def _norm(g: Dialect, name: str, scale: Array, config: DecoderConfig, x: str) -> str:
    return g.rms_norm(x, g.weight(name, scale), config.norm_eps)


def _head(g: Dialect, w: Mapping[str, Array], config: DecoderConfig, x: str) -> None:
    """Logits in fp32 and greedy tokens of the rows asked for: (1, R, D) -> (R, V), (R,)."""
    x = _norm(g, "decoder.norm", w["ln_f.weight"], config, x)
    logits = g.linear(x, "decoder.head", w["ff_out.weight"].T)
    logits = g.op("Reshape", logits, g.ints(-1, config.embedding_size))
    logits = logits if g.dtype == np.float32 else g.cast(logits, np.float32)
    tokens = g.op("ArgMax", logits, axis=-1, keepdims=0)
    g.output("logits", logits, ["rows", config.embedding_size], np.float32)
    g.output("greedy", tokens, ["rows"], np.int64)
