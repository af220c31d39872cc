"""Writes the language half of any Molmo as a graph with a static key/value cache.

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

from molmo_engine.export_experts import Mixing, mix_experts
from molmo_engine.export_graph import HIDDEN
from molmo_engine.export_ops import Dialect, Turns
from molmo_engine.export_weights import Source
from molmo_model.config import DecoderConfig

PREFIX = "transformer."


def write_decoder(
    g: Dialect,
    weights: Mapping[str, Source],
    config: DecoderConfig,
    capacity: int,
    mixing: Mixing = Mixing.CHOSEN,
) -> None:
    """Fills the graph `g`; `mixing` matters where there are experts."""
    w = {name.removeprefix(PREFIX): source for name, source in weights.items()}
    x = g.input("embeddings", [1, "tokens", config.width], g.dtype)
    positions = g.input("positions", [1, "tokens"], np.int64)
    rows = g.input("rows", ["rows"], np.int64)  # counted from the first token of this call
    turns = _turns(g, config, capacity, positions)
    cache_shape = [1, config.kv_heads, capacity, config.head_dim]
    written: dict[str, str] = {}
    for layer in range(config.layers):
        block = _Block(g, w, config, layer)
        caches = [g.input(f"{kind}.{layer}", cache_shape, g.dtype) for kind in ("keys", "values")]
        x, *new = block.attend(x, turns, caches)
        if layer == config.layers - 1:  # from here on only the rows asked for matter
            x = g.op("Gather", x, rows, axis=1)
        x = g.named(block.think(x, mixing), f"{HIDDEN}{layer}")
        written |= {f"new_keys.{layer}": new[0], f"new_values.{layer}": new[1]}
    _head(g, w, config, x)
    for name, tensor in written.items():
        g.output(name, tensor, cache_shape, g.dtype)


def _turns(g: Dialect, config: DecoderConfig, capacity: int, positions: str) -> Turns:
    """The rotary tables, one row per cache row."""
    exponents = np.arange(0, config.head_dim, 2, dtype=np.float32) / np.float32(config.head_dim)
    speeds = np.float32(config.rope_theta) ** -exponents  # fp32 throughout, as published
    angles = np.arange(capacity, dtype=np.float32)[:, None] * speeds
    cos = g.weight("decoder.cos", Source.of(np.cos(angles)))
    sin = g.weight("decoder.sin", Source.of(np.sin(angles)))
    return Turns(cos, sin, positions, capacity)


class _Block:
    """One block: two branches, each added to what it read, its norm in front or behind."""

    def __init__(
        self, g: Dialect, w: Mapping[str, Source], config: DecoderConfig, layer: int
    ) -> None:
        self.g, self.w, self.config = g, w, config
        self.source, self.name = f"blocks.{layer}", f"decoder.{layer}"

    def attend(self, x: str, turns: Turns, caches: list[str]) -> tuple[str, str, str]:
        """Attention over the cache: x (1, T, D) -> x (1, T, D), new keys, new values."""
        g, config = self.g, self.config
        qkv = self._project(self._before(x, "attn.attn_norm"))
        heads = (config.heads, config.kv_heads, config.head_dim)
        mixed, keys, values = g.attend_cached(qkv, caches, heads, turns)
        update = g.linear(mixed, f"{self.name}.out", self._weight("attn.attn_out").T)
        return g.op("Add", x, self._behind(update, "attn.attn_norm")), keys, values

    def think(self, x: str, mixing: Mixing) -> str:
        """The MLP or the experts: (1, T, D) -> (1, T, D)."""
        y = self._before(x, "mlp.ff_norm")
        experts = self.config.experts
        if experts is None:
            update = self._mlp(y)
        else:
            own = f"{self.source}.mlp."
            weights = {n.removeprefix(own): s for n, s in self.w.items() if n.startswith(own)}
            update = mix_experts(self.g, self.name, weights, experts, y, mixing)
        return self.g.op("Add", x, self._behind(update, "mlp.ff_norm"))

    def _project(self, x: str) -> str:
        """Queries, keys and values side by side: (1, T, D) -> (1, T, (H + 2 * G) * K)."""
        g, config, name = self.g, self.config, "attn.att_proj"
        bias = self.w[f"{self.source}.{name}.bias"] if config.qkv_bias else None
        qkv = g.linear(x, f"{self.name}.qkv", self._weight(name).T, bias)
        if not config.qk_norm:
            return qkv
        widths = [n * config.head_dim for n in (config.heads, config.kv_heads, config.kv_heads)]
        q, k, v = g.ops("Split", 3, qkv, g.ints(*widths), axis=-1)
        q, k = self._norm(q, "attn.q_norm"), self._norm(k, "attn.k_norm")  # all heads together
        return g.op("Concat", q, k, v, axis=-1)

    def _mlp(self, x: str) -> str:
        """The first half of the fused projection goes up, the second half gates it."""
        g, name = self.g, self.name
        up, gate = g.halves(g.linear(x, f"{name}.up", self._weight("mlp.ff_proj").T))
        mixed = g.op("Mul", up, g.silu(gate))
        return g.linear(mixed, f"{name}.down", self._weight("mlp.ff_out").T)

    def _before(self, x: str, name: str) -> str:
        return x if self.config.norm_after else self._norm(x, name)

    def _behind(self, x: str, name: str) -> str:
        return self._norm(x, name) if self.config.norm_after else x

    def _norm(self, x: str, name: str) -> str:
        scale = self.g.weight(f"{self.name}.{name.split('.')[1]}", self._weight(name))
        return self.g.rms_norm(x, scale, self.config.norm_eps)

    def _weight(self, name: str) -> Source:
        return self.w[f"{self.source}.{name}.weight"]


def _head(g: Dialect, w: Mapping[str, Source], config: DecoderConfig, x: str) -> None:
    """Logits in fp32 and greedy tokens of the rows asked for: (1, R, D) -> (R, V), (R,)."""
    x = g.rms_norm(x, g.weight("decoder.norm", w["ln_f.weight"]), config.norm_eps)
    logits = g.linear(x, "decoder.head", w["ff_out.weight"].T, exact=True)
    logits = g.op("Reshape", logits, g.ints(-1, config.embedding_size))
    logits = logits if g.dtype == np.float32 else g.cast(logits, np.float32)
    tokens = g.op("ArgMax", logits, axis=-1, keepdims=0)
    g.output("logits", logits, ["rows", config.embedding_size], np.float32)
    g.output("greedy", tokens, ["rows"], np.int64)
