"""The operators that both halves of Molmo are made of, in the two dialects of a bundle.

`Native` uses the transformer operators of opset 24 (TensorRT 10.15 and newer, TensorRT-RTX,
ONNX Runtime); `Compat` says the same in plain opset 18 (TensorRT 10.3 of JetPack 6, older
ONNX Runtimes). Knows no layer of Molmo and no checkpoint.

B batch, H query heads, G key/value heads, T tokens, S cache rows, K head width
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from onnx import helper

from molmo_engine.export_graph import Graph
from molmo_engine.export_weights import Source

MASKED = -65504.0  # the lowest fp16: exactly 0 after the softmax, finite in every precision


@dataclass(frozen=True)
class Turns:
    """Where the tokens stand, and what turns them there.

    tables cos and sin (S, K / 2), positions (1, T), capacity S
    """

    cos: str
    sin: str
    positions: str
    capacity: int


class Dialect(Graph, ABC):
    """A graph that can say what a transformer needs."""

    dialect: ClassVar[str]

    @abstractmethod
    def rms_norm(self, x: str, scale: str, eps: float) -> str:
        """Normalises the last axis in fp32, casts back, then scales."""

    @abstractmethod
    def rotate(self, x: str, cos: str, sin: str, positions: str) -> str:
        """Rotary embedding of x (1, H, T, K), half against half.

        tables cos and sin (S, K / 2), positions (1, T)
        """

    @abstractmethod
    def write_rows(self, cache: str, rows: str, positions: str, heads: int) -> str:
        """The cache (1, G, S, K) with rows (1, G, T, K) put at consecutive positions (1, T)."""

    def attend(self, q: str, k: str, v: str, heads: tuple[int, int, int], mask: str = "") -> str:
        """Softmax attention, scaled by 1 / sqrt(K).

        q (B, H, T, K), k and v (B, G, S, K), heads (H, G, K), additive mask (1, 1, T, S)

        The query heads that share a key head become rows of one product: k is not repeated.
        """
        query, key, width = heads
        q = self.op("Mul", q, self.constant(width**-0.5, self.dtype))
        if query > key:
            q = self.op("Reshape", q, self.ints(0, key, -1, width))
        scores = self.op("MatMul", q, self.op("Transpose", k, perm=[0, 1, 3, 2]))
        if mask:
            scores = self.op("Add", scores, self.op("Concat", *[mask] * (query // key), axis=2))
        mixed = self.op("MatMul", self.op("Softmax", scores, axis=-1), v)
        return self.op("Reshape", mixed, self.ints(0, query, -1, width)) if query > key else mixed

    def attend_cached(
        self, qkv: str, caches: list[str], heads: tuple[int, int, int], turns: Turns
    ) -> tuple[str, str, str]:
        """Writes the new rows into the cache, and attends over all rows up to each token's own.

        qkv (1, T, (H + 2 * G) * K), caches of keys and values (1, G, S, K), heads (H, G, K);
        returns (1, T, H * K) and the caches with the new rows
        """
        query, key, width = heads
        qkv = self.split_heads(qkv, query + 2 * key, width)
        # Queries and keys turn alike, so they turn together.
        qk, v = self.ops("Split", 2, qkv, self.ints(query + key, key), axis=1)
        qk = self.rotate(qk, turns.cos, turns.sin, turns.positions)
        q, k = self.ops("Split", 2, qk, self.ints(query, key), axis=1)
        keys = self.write_rows(caches[0], k, turns.positions, key)
        values = self.write_rows(caches[1], v, turns.positions, key)
        mixed = self.attend(q, keys, values, heads, self._mask(turns))
        return self.merge_heads(mixed, query * width), keys, values

    def _mask(self, turns: Turns) -> str:
        """What each token sees of the cache, (1, 1, T, S): 0, or MASKED behind it."""
        columns = self.constant(np.arange(turns.capacity).reshape(1, 1, 1, -1), np.int64)
        own = self.op("Reshape", turns.positions, self.ints(1, 1, -1, 1))
        seen = self.op("LessOrEqual", columns, own)
        return self.op(
            "Where", seen, self.constant(0, self.dtype), self.constant(MASKED, self.dtype)
        )

    def linear(
        self, x: str, name: str, weight: Source, bias: Source | None = None, exact: bool = False
    ) -> str:
        """Applies weight (in, out), the layout that rounding keeps, and bias.

        exact: never rounded
        """
        kept = self.weight if exact else self.matrix
        y = self.op("MatMul", x, kept(f"{name}.weight", weight))
        return y if bias is None else self.op("Add", y, self.weight(f"{name}.bias", bias))

    def layer_norm(self, x: str, name: str, weight: Source, bias: Source, eps: float) -> str:
        scale, shift = self.weight(f"{name}.weight", weight), self.weight(f"{name}.bias", bias)
        return self.op("LayerNormalization", x, scale, shift, epsilon=eps, axis=-1)

    def split_heads(self, x: str, heads: int, width: int) -> str:
        """(B, T, H * K) -> (B, H, T, K)."""
        x = self.op("Reshape", x, self.ints(0, 0, heads, width))
        return self.op("Transpose", x, perm=[0, 2, 1, 3])

    def merge_heads(self, x: str, width: int) -> str:
        """(B, H, T, K) -> (B, T, H * K)."""
        x = self.op("Transpose", x, perm=[0, 2, 1, 3])
        return self.op("Reshape", x, self.ints(0, 0, width))

    def halves(self, x: str) -> tuple[str, str]:
        """Both halves of the last axis."""
        first, second = self.ops("Split", 2, x, axis=-1, num_outputs=2)
        return first, second

    def silu(self, x: str) -> str:
        return self.op("Mul", x, self.op("Sigmoid", x))

    def cast(self, x: str, dtype: npt.DTypeLike) -> str:
        return self.op("Cast", x, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


class Native(Dialect):
    """Opset 24."""

    dialect = "native"
    opset = 24

    def rms_norm(self, x: str, scale: str, eps: float) -> str:
        return self.op("RMSNormalization", x, scale, epsilon=eps, axis=-1)

    def rotate(self, x: str, cos: str, sin: str, positions: str) -> str:
        return self.op("RotaryEmbedding", x, cos, sin, positions)

    def write_rows(self, cache: str, rows: str, positions: str, heads: int) -> str:
        first = self.op("Gather", positions, self.constant(0, np.int64), axis=1)
        return self.op("TensorScatter", cache, rows, first, axis=2)

    def attend(self, q: str, k: str, v: str, heads: tuple[int, int, int], mask: str = "") -> str:
        # TensorRT fuses 16-bit attention only. Its attribute TRT_decomposable would make it take
        # an fp32 node, but ONNX Runtime refuses foreign attributes: in fp32 it is spelled out.
        if self.dtype == np.float32:
            return super().attend(q, k, v, heads, mask)
        return self.op("Attention", q, k, v, *([mask] if mask else []))


class Compat(Dialect):
    """Opset 18."""

    dialect = "compat"
    opset = 18

    def rms_norm(self, x: str, scale: str, eps: float) -> str:
        wide = x if self.dtype == np.float32 else self.cast(x, np.float32)
        mean = self.op("ReduceMean", self.op("Mul", wide, wide), self.ints(-1), keepdims=1)
        root = self.op("Sqrt", self.op("Add", mean, self.constant(eps, np.float32)))
        normal = self.op("Div", wide, root)
        narrow = normal if self.dtype == np.float32 else self.cast(normal, self.dtype)
        return self.op("Mul", narrow, scale)

    def rotate(self, x: str, cos: str, sin: str, positions: str) -> str:
        first, second = self.halves(x)
        cos, sin = (self.op("Gather", table, positions, axis=0) for table in (cos, sin))
        left = self.op("Sub", self.op("Mul", first, cos), self.op("Mul", second, sin))
        right = self.op("Add", self.op("Mul", second, cos), self.op("Mul", first, sin))
        return self.op("Concat", left, right, axis=-1)

    def write_rows(self, cache: str, rows: str, positions: str, heads: int) -> str:
        column = self.op("Reshape", positions, self.ints(1, 1, -1, 1))
        zero = self.op("Mul", column, self.constant(0, np.int64))
        grid = np.arange(heads).reshape(1, -1, 1, 1)
        parts = [
            self.op("Add", zero, self.constant(grid * 0, np.int64)),
            self.op("Add", zero, self.constant(grid, np.int64)),
            self.op("Add", column, self.constant(grid * 0, np.int64)),
        ]
        return self.op("ScatterND", cache, self.op("Concat", *parts, axis=-1), rows)
