"""The seam between decoding (written once) and what computes: ONNX Runtime, TensorRT, torch.

A runtime holds one decoder cache and how many tokens of it stand. It knows nothing of text,
points or stopping. Logits are valid until the next prefill or step.

C crops, P patches per crop, Q pooled patches per crop, T or n tokens, D width, V vocabulary
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Saved = Any  # rows of a decoder cache as their runtime keeps them: an array, or what has nbytes
STEP = 8  # the most tokens of a step: the width of the decode profile


class Runtime(Protocol):
    """One model on one device."""

    name: str  # what computes, for logs and answers: "onnxruntime 1.31.1 cpu, native fp32"
    capacity: int  # rows of the decoder cache: prompt and answer together

    def encode(self, crops: Floats, masks: Floats, index: Ints, tokens: int) -> Floats:
        """Image features laid out along the prompt.

        crops (C, P, 588), masks (C, P), index (C, Q) with negative = dropped;
        returns (tokens, D), zero where no feature belongs.
        """

    def prefill(self, ids: Ints, features: Floats | None, behind: Saved | None = None) -> Floats:
        """Forgets the last prompt, reads a new one: ids (T,), features (T, D) -> logits (V,).

        behind: tokens that were read before, as `save` returned them
        """

    def step(self, ids: Ints) -> Floats:
        """Reads 1...8 more tokens: ids (n,) -> logits behind each of them (n, V)."""

    def rewind(self, length: int) -> None:
        """Forgets all but the first `length` tokens read; costs nothing."""

    def save(self, length: int) -> Saved:
        """A copy of what the cache holds of the first `length` tokens."""

    def close(self) -> None:
        """Frees everything; the runtime is not used afterwards."""
