"""The dialect for ONNX Runtime alone: its own operators where they do less work.

Plain ONNX attends over a cache as far as it reaches, and masks what is empty; the operator of
ONNX Runtime reads the rows that are written, in place. TensorRT knows none of these operators.

T tokens, S cache rows (capacity), D width, H query heads, G key/value heads, K head width
"""

from __future__ import annotations

import numpy as np

from molmo_engine.export_ops import Native, Turns

DOMAIN = "com.microsoft"


class Fused(Native):
    """Opset 24 with operators of ONNX Runtime."""

    dialect = "fused"
    domains = (DOMAIN,)

    def attend_cached(
        self, qkv: str, caches: list[str], heads: tuple[int, int, int], turns: Turns
    ) -> tuple[str, str, str]:
        """See Dialect; one operator turns, writes and attends."""
        last = self.op("Gather", turns.positions, self.ints(-1), axis=1)
        last = self.op("Reshape", self.cast(last, np.int32), self.ints(1))
        count = self.op("Add", last, self.constant([1], np.int32))
        mixed, keys, values = self.ops(
            "GroupQueryAttention",
            3,
            *(qkv, "", ""),  # queries, keys and values come packed
            *caches,
            *(last, count),  # the last row to read, and how many that makes
            *(turns.cos, turns.sin),
            num_heads=heads[0],
            kv_num_heads=heads[1],
            do_rotary=1,
            domain=DOMAIN,
        )
        return mixed, keys, values
