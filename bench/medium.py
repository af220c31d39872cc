"""A Molmo between the tiny and the published ones, of random weights, for `bench/engine`.

0.3 billion parameters: a ViT-B over the published crops, and a decoder to match. What random
weights would say means nothing, so the answer is dictated: everything is computed, and then the
next token of a fixed text gets the largest logit.

T or n tokens, D width, V rows of the head
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from molmo_model.config import CropConfig, DecoderConfig, ImageTokens, MolmoConfig, VisionConfig

PROMPT = "Point to the green cube."
SCRIPT = ' <point x="29.9" y="19.9" alt="green cube">green cube</point>'  # 26 tokens
CAPACITY = 1024  # cache rows: a picture of 640 x 480, its question, an answer of 200 tokens
LOUD = 1e4  # above every logit


def medium_config(vocab_size: int) -> MolmoConfig:
    """ViT-B at 336 px, up to four crops, 12 decoder layers; 0.31 billion parameters."""
    return MolmoConfig(
        decoder=DecoderConfig(
            vocab_size=vocab_size,
            embedding_size=32_000,
            width=1024,
            mlp=3072,
            layers=12,
            heads=16,
            kv_heads=4,
            norm_eps=1e-6,
            rope_theta=1e6,
        ),
        vision=VisionConfig(width=768, heads=12, head_dim=64, mlp=3072, layers=12),
        crops=CropConfig(max_crops=4),
    )


def write_checkpoint(directory: Path, tokenizer_file: Path) -> None:
    """Writes one in the published layout, with the words of a smaller Molmo."""
    import torch

    from molmo_model.molmo import Molmo
    from molmo_model.weights import save_model

    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    torch.manual_seed(0)
    model = Molmo(medium_config(tokenizer.token_to_id(ImageTokens.NAMES[0])))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.02)
    save_model(model, directory)
    tokenizer.save(str(directory / "tokenizer.json"))


class Dictated:
    """A runtime that computes as the one below it, and says a fixed answer."""

    def __init__(self, runtime: Any, script: list[int]) -> None:
        self.name, self.capacity = runtime.name, runtime.capacity
        self.encode, self.save, self.close = runtime.encode, runtime.save, runtime.close
        self._runtime = runtime
        self._script = script
        self._prompt = self._length = 0

    def prefill(
        self, ids: npt.NDArray[np.int64], features: Any, behind: Any = None
    ) -> npt.NDArray[np.float32]:
        """(T,), (T, D) -> (V,); what was read before is not supported, nothing is remembered."""
        assert behind is None
        self._prompt = self._length = len(ids)
        return self._dictate(self._runtime.prefill(ids, features)[None], 0)[0]

    def step(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """(n,) -> (n, V)."""
        read = self._length - self._prompt
        self._length += len(ids)
        return self._dictate(self._runtime.step(ids), read + 1)

    def rewind(self, length: int) -> None:
        self._length = length
        self._runtime.rewind(length)

    def _dictate(self, logits: npt.NDArray[np.float32], first: int) -> npt.NDArray[np.float32]:
        """Makes the script's tokens from `first` on the likeliest of the rows (n, V)."""
        for row, token in zip(logits, self._script[first:], strict=False):
            row[token] = LOUD
        return logits
