"""An auxiliary loss that ties image features to the language model's own words.

For every cell that shows an object, its feature must predict, through one linear map per slot and
dot products with the decoder's embeddings, the tokens of the object's colour and shape and the
digits of its place. A small Molmo that sees only the answers finds where things are very late;
with this it does so in minutes. The maps are dropped after training.

B pictures, Q cells of the global crop, D width of the decoder, K candidate tokens of a slot
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from molmo_sim.scene import COLOURS, SHAPES
from molmo_training.scenes import NO_OBJECT, Seen

DIGITS = tuple("0123456789")
IGNORED = -100  # cross_entropy's own default


@dataclass(frozen=True)
class Slot:
    """One property of an object and the words that name it; they are tokens of the answers."""

    name: str
    words: tuple[str, ...]


SLOTS = (
    Slot("colour", tuple(f" {colour}" for colour in COLOURS)),
    Slot("shape", tuple(f" {shape}" for shape in SHAPES)),
    *(Slot(f"{axis} {place}", DIGITS) for axis in "xy" for place in ("tens", "units")),
)


class Alignment(nn.Module):
    """One linear map per slot, and one embedding for "no object"."""

    def __init__(self, tokenizer: Tokenizer, width: int):
        super().__init__()
        self.maps = nn.ModuleList(nn.Linear(width, width) for _ in SLOTS)
        self.nothing = nn.Parameter(torch.zeros(1, width))
        self.tokens = [_token_ids(tokenizer, slot.words) for slot in SLOTS]

    def forward(self, features: Tensor, embedding: Tensor, labels: Tensor) -> Tensor:
        """Mean over slots of the cross entropy over the cells that show something.

        features (B, Q, D), embedding (V, D), labels (B, Q, slots) from `cell_labels`
        """
        losses = []
        for slot, (linear, tokens) in enumerate(zip(self.maps, self.tokens, strict=True)):
            words = torch.cat([embedding[tokens], self.nothing]).float()
            logits = linear(features).float() @ words.T
            wanted = labels[..., slot].flatten()
            losses.append(functional.cross_entropy(logits.flatten(0, 1), wanted))
        return torch.stack(losses).mean()


def cell_labels(cells: Sequence[np.ndarray], objects: Sequence[Sequence[Seen]]) -> Tensor:
    """Which word of each slot belongs to each cell: (B, Q, slots) int64.

    The last word of the colour slot is "no object"; the other slots ignore such cells.
    """
    labels = [_labels_of(cell, seen) for cell, seen in zip(cells, objects, strict=True)]
    return torch.from_numpy(np.stack(labels))


def _labels_of(cells: np.ndarray, objects: Sequence[Seen]) -> np.ndarray:
    nothing = [len(SLOTS[0].words)] + [IGNORED] * (len(SLOTS) - 1)
    rows = [_words_of(*thing) for thing in objects] + [nothing]
    assert NO_OBJECT == -1  # indexes the last row
    return np.array(rows, np.int64)[cells]


def _words_of(colour: str, shape: str, x: float, y: float) -> list[int]:
    digits = [int(digit) for percent in (x, y) for digit in f"{min(percent, 99.9):04.1f}"[:2]]
    return [list(COLOURS).index(colour), SHAPES.index(shape), *digits]


def _token_ids(tokenizer: Tokenizer, words: Sequence[str]) -> list[int]:
    encoded = [tokenizer.encode(word, add_special_tokens=False).ids for word in words]
    split = [word for word, ids in zip(words, encoded, strict=True) if len(ids) != 1]
    if split:
        raise ValueError(f"the tokenizer splits {split}; alignment needs them as single tokens")
    return [ids[0] for ids in encoded]
