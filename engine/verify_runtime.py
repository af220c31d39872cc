"""Runs the graphs of a bundle on ONNX Runtime, one piece in memory at a time.

For comparing bundles larger than the memory: every pass opens every piece again. The cache keeps
the rows that were read, not its capacity.

C crops, P patches per crop, Q pooled patches per crop, T or n tokens, D width, V vocabulary,
G key/value heads, K head width
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import safe_open

from molmo_engine.bundle import EMBEDDING, Bundle
from molmo_engine.export_rounding import BFLOAT16
from molmo_engine.ort_pieces import run_piece
from molmo_engine.runtime import STEP, Floats, Ints
from molmo_engine.verify_pieces import cut


class PiecewiseRuntime:
    """One bundle with one cache. bf16 runs as fp32, with the weights that bf16 left."""

    def __init__(self, bundle: Bundle, dialect: str) -> None:
        self._bundle = bundle
        parts = {graph.part: bundle.graph(graph.part, dialect) for graph in bundle.manifest.graphs}
        self._pieces = {part: cut(bundle.path(graph.file)) for part, graph in parts.items()}
        self._dtype = np.dtype(_wide(parts["vision"].outputs[0].dtype))
        self._caches = {
            spec.name: np.zeros((1, int(spec.shape[1]), 0, int(spec.shape[3])), self._dtype)
            for spec in parts["decoder"].inputs
            if spec.name.startswith(("keys.", "values."))
        }

    def encode(self, crops: Floats, masks: Floats, index: Ints, tokens: int) -> Floats:
        """(C, P, 588), (C, P), (C, Q) -> (tokens, D), zero where no feature belongs."""
        source = np.zeros(tokens, np.int64)  # 0 is the graph's row of zeros
        flat = index.ravel()
        source[flat[flat >= 0]] = 1 + np.flatnonzero(flat >= 0)
        inputs = {"crops": crops.astype(self._dtype), "masks": masks, "source": source}
        features: Floats = self._run("vision", inputs)["features"].astype(np.float32)
        return features

    def prefill(self, ids: Ints, features: Floats | None) -> Floats:
        """Forgets the last prompt and reads a new one: (T,), (T, D) -> logits (V,)."""
        self._caches = {name: cache[:, :, :0] for name, cache in self._caches.items()}
        part = "prefill" if len(ids) > STEP and "prefill" in self._pieces else "decoder"
        logits: Floats = self._read(part, ids, features, 1)[0]
        return logits

    def step(self, ids: Ints) -> Floats:
        """Reads more tokens: (n,) -> logits behind each of them (n, V)."""
        return self._read("decoder", ids, None, len(ids))

    def _read(self, part: str, ids: Ints, features: Floats | None, rows: int) -> Floats:
        first = next(iter(self._caches.values())).shape[2]
        embeddings = self._embed(ids)
        if features is not None:
            embeddings += features.astype(self._dtype)
        inputs = {
            "embeddings": embeddings[None],
            "positions": np.arange(first, first + len(ids))[None],
            "rows": np.arange(len(ids) - rows, len(ids)),
        }
        logits: Floats = self._run(part, inputs)["logits"]
        return logits

    def _embed(self, ids: Ints) -> npt.NDArray[Any]:
        """(n,) -> (n, D), one row of the table after the other."""
        with safe_open(self._bundle.path(EMBEDDING), "pt") as file:
            table = file.get_slice("embedding")
            rows = [table[int(one) : int(one) + 1].float().numpy() for one in ids]
        return np.concatenate(rows).astype(self._dtype)

    def _run(self, part: str, inputs: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """All pieces in their order; caches are padded for the piece that reads them."""
        values, end = dict(inputs), 0
        if "positions" in inputs:
            end = int(inputs["positions"][0, -1]) + 1
        for piece in self._pieces[part]:
            padded = {name: self._padded(name) for name in piece.caches}
            made = run_piece(piece.model, self._bundle.directory, {**values, **padded})
            for name in piece.caches:
                self._caches[name] = made.pop(f"new_{name}")[:, :, :end].copy()
            values |= made
        return values

    def _padded(self, name: str) -> npt.NDArray[Any]:
        """A cache with as many rows as the graph wants."""
        cache = self._caches[name]
        capacity = self._bundle.manifest.capacity
        padded = np.zeros((*cache.shape[:2], capacity, cache.shape[3]), self._dtype)
        padded[:, :, : cache.shape[2]] = cache
        return padded


def _wide(dtype: str) -> str:
    return "float32" if dtype == BFLOAT16.name else dtype
