"""Runs a checkpoint through torch: the oracle of the faster engines, and evaluation's runtime.

Has the shape of the engine's Runtime protocol without importing it.

C crops, P patches per crop, Q pooled patches per crop, T or n tokens, D width, V vocabulary
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from molmo_model.decoder import KVCache
from molmo_model.molmo import Molmo, place
from molmo_model.weights import load_model

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


class TorchRuntime:
    """One model with one cache."""

    name = "torch"

    def __init__(self, model: Molmo, capacity: int | None = None):
        self.model = model.eval()
        self.capacity = capacity or model.config.decoder.max_positions
        self.cache = self._new_cache()

    @classmethod
    def from_checkpoint(cls, directory: str | Path) -> TorchRuntime:
        """Loads a checkpoint directory in float32 on the CPU."""
        return cls(load_model(directory))

    @torch.inference_mode()
    def encode(self, crops: Floats, masks: Floats, index: Ints, tokens: int) -> Floats:
        """(C, P, 588), (C, P), (C, Q) -> (tokens, D), zero where no feature belongs."""
        features = self.model.encode_image(self._tensor(crops), self._tensor(masks))
        placed = place(features, torch.from_numpy(index)[None], tokens)[0]
        result: Floats = placed.float().numpy()
        return result

    @torch.inference_mode()
    def prefill(self, ids: Ints, features: Floats | None, behind: Tensor | None = None) -> Floats:
        """Forgets the last prompt and reads a new one: (T,), (T, D) -> logits (V,).

        behind: what `save` returned of tokens that come before
        """
        self.cache = self._new_cache()
        if behind is not None:
            self._restore(behind)
        added = None if features is None else self._tensor(features)
        logits: Floats = self._read(ids, added, 1)[0]
        return logits

    @torch.inference_mode()
    def step(self, ids: Ints) -> Floats:
        """Reads more tokens: (n,) -> logits behind each of them (n, V)."""
        return self._read(ids, None, len(ids))

    def rewind(self, length: int) -> None:
        """Forgets all but the first `length` tokens."""
        assert length <= self.cache.length, (length, self.cache.length)
        self.cache.length = length

    def save(self, length: int) -> Tensor:
        """The first rows of all keys and values, copied: (2, layers, 1, K, length, head)."""
        assert length <= self.cache.length, (length, self.cache.length)
        return torch.stack([self.cache.keys[..., :length, :], self.cache.values[..., :length, :]])

    def close(self) -> None:
        """Nothing outlives the object."""

    def _read(self, ids: Ints, features: Tensor | None, rows: int) -> Floats:
        """Reads tokens; the logits behind the last `rows` of them (rows, V)."""
        hidden = self.model.hidden_states(torch.from_numpy(ids)[None], features, cache=self.cache)
        logits: Floats = self.model.transformer.ff_out(hidden[0, -rows:]).float().numpy()
        return logits

    def _restore(self, saved: Tensor) -> None:
        length = saved.shape[-2]
        self.cache.append(torch.ones(1, length, dtype=torch.bool, device=saved.device))
        self.cache.keys[..., :length, :], self.cache.values[..., :length, :] = saved

    def _new_cache(self) -> KVCache:
        weight = self.model.transformer.ff_out.weight
        return KVCache(self.model.config.decoder, 1, self.capacity, weight.dtype, weight.device)

    def _tensor(self, array: Floats) -> Tensor:
        """One more axis in front for the batch, in the model's type."""
        return torch.from_numpy(array)[None].to(self.model.transformer.ff_out.weight.dtype)
