"""Writes a mixture of experts, in the two ways of computing it.

`CHOSEN` gathers the weights of each token's experts: what a few tokens need and no more. `ALL`
runs every expert on every token and weighs most of them with nothing: for prompts, whose tokens
together need all experts anyway. Both read the same stored weights. Knows nothing of attention.

T tokens, D width, E experts, N chosen per token, M hidden width of an expert
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto

import numpy as np

from molmo_engine.export_ops import Dialect
from molmo_engine.export_weights import Source, joined, stacked
from molmo_model.config import ExpertsConfig


class Mixing(Enum):
    """How a mixture is computed; the result is the same."""

    CHOSEN = auto()
    ALL = auto()


def mix_experts(
    g: Dialect,
    name: str,
    weights: Mapping[str, Source],
    config: ExpertsConfig,
    x: str,
    mixing: Mixing,
) -> str:
    """What the experts make of each token: (1, T, D) -> (1, T, D).

    weights: the branch's own tensors, "gate.weight" and "experts.<number>.<part>.weight"
    """
    mlps = [f"experts.{number}" for number in range(config.count)]
    # As in the dense MLP: the first half goes up, the second half gates it.
    ups = [joined([weights[f"{e}.{part}_proj.weight"] for part in ("up", "gate")]) for e in mlps]
    downs = [weights[f"{e}.down_proj.weight"] for e in mlps]
    up = g.matrix(f"{name}.experts.up", stacked(ups).T)  # (E, D, 2 * M)
    down = g.matrix(f"{name}.experts.down", stacked(downs).T)  # (E, M, D)
    hidden, width = downs[0].shape[1], downs[0].shape[0]
    shares, chosen = _route(g, name, weights["gate.weight"], config, x)
    if mixing is Mixing.ALL:
        return _run_all(g, x, up, down, _spread(g, shares, chosen, config.count))
    parts = (hidden, width, config.chosen)
    return _run_chosen(g, x, up, down, (shares, chosen), parts)


def _route(g: Dialect, name: str, gate: Source, config: ExpertsConfig, x: str) -> tuple[str, str]:
    """Each token's experts and their shares, both (1, T, N).

    The softmax runs in fp32 over all experts, before choosing; nothing is renormalised.
    """
    logits = g.linear(x, f"{name}.gate", gate.T, exact=True)
    logits = logits if g.dtype == np.float32 else g.cast(logits, np.float32)
    shares, chosen = g.ops(
        "TopK", 2, g.op("Softmax", logits, axis=-1), g.ints(config.chosen), axis=-1
    )
    return (shares if g.dtype == np.float32 else g.cast(shares, g.dtype)), chosen


def _run_chosen(
    g: Dialect,
    x: str,
    up: str,
    down: str,
    routes: tuple[str, str],
    sizes: tuple[int, int, int],
) -> str:
    """Runs the chosen experts with weights gathered per token; sizes (M, D, N)."""
    (shares, chosen), (hidden, width, count) = routes, sizes
    ups = g.op("Gather", up, chosen, axis=0)  # (1, T, N, D, 2 * M)
    both = g.op("MatMul", g.op("Reshape", x, g.ints(1, -1, 1, 1, width)), ups)
    rise, gate = g.halves(both)
    mixed = g.op("Mul", rise, g.silu(gate))  # (1, T, N, 1, M)
    mixed = g.op("Mul", mixed, g.op("Reshape", shares, g.ints(1, -1, count, 1, 1)))
    # The sum over a token's experts is part of one product over all their hidden values.
    mixed = g.op("Reshape", mixed, g.ints(1, -1, 1, count * hidden))
    downs = g.op("Gather", down, chosen, axis=0)
    downs = g.op("Reshape", downs, g.ints(1, -1, count * hidden, width))
    return g.op("Reshape", g.op("MatMul", mixed, downs), g.ints(1, -1, width))


def _run_all(g: Dialect, x: str, up: str, down: str, shares: str) -> str:
    """Runs every expert on every token; shares (E, T, 1)."""
    rise, gate = g.halves(g.op("MatMul", x, up))  # x (1, T, D) meets every expert: (E, T, 2 * M)
    mixed = g.op("Mul", g.op("Mul", rise, g.silu(gate)), shares)
    return g.op("ReduceSum", g.op("MatMul", mixed, down), g.ints(0), keepdims=1)


def _spread(g: Dialect, shares: str, chosen: str, experts: int) -> str:
    """Shares of the chosen (1, T, N) as shares of all, zero for the others: (E, T, 1)."""
    numbers = g.constant(np.arange(experts).reshape(-1, 1, 1), np.int64)
    is_chosen = g.op("Equal", chosen, numbers)  # (E, T, N)
    spread = g.op("Where", is_chosen, shares, g.constant(0, g.dtype))
    return g.op("ReduceSum", spread, g.ints(-1), keepdims=1)
