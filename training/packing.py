"""Packs several questions and answers about one picture into one training sequence.

As published (Molmo, "message trees"): all annotations see the picture and themselves, never each
other, and each counts its positions from the end of the picture. Knows no text, only ids.

T tokens of a row, B rows
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
IMAGE_SEGMENT = 10_000  # above every annotation: all of them see the picture
PADDING = -1


@dataclass(frozen=True)
class Annotation:
    """One question and its answer.

    prompt:  ids of the chat template
    answer:  ids with the end of text
    weights: of each answer id in the loss
    """

    prompt: Sequence[int]
    answer: Sequence[int]
    weights: Sequence[float]


@dataclass(frozen=True)
class Packed:
    """One row, or with a leading axis B a batch of rows.

    ids:       (T,) int64, without the last end of text
    targets:   (T,) int64, the next token of the row
    weights:   (T,) float32, 0 where nothing is learned
    positions: (T,) int64
    segments:  (T,) int64
    """

    ids: Ints
    targets: Ints
    weights: Floats
    positions: Ints
    segments: Ints


def pack(head: Sequence[int], annotations: Sequence[Annotation]) -> Packed:
    """Lays annotations behind the head, which is BOS and the image tokens."""
    ids, weights = list(head), [0.0] * len(head)
    positions, segments = list(range(len(head))), [IMAGE_SEGMENT] * len(head)
    for number, one in enumerate(annotations, start=1):
        length = len(one.prompt) + len(one.answer)
        ids += [*one.prompt, *one.answer]
        weights += [0.0] * len(one.prompt) + list(one.weights)
        positions += range(len(head), len(head) + length)
        segments += [number] * length
    return Packed(
        ids=np.array(ids[:-1], np.int64),
        targets=np.array(ids[1:], np.int64),
        weights=np.array(weights[1:], np.float32),
        positions=np.array(positions[:-1], np.int64),
        segments=np.array(segments[:-1], np.int64),
    )


def collate(rows: Sequence[Packed]) -> Packed:
    """Pads rows on the right into one (B, T) batch."""
    longest = max(len(row.ids) for row in rows)

    def stacked(name: str, fill: int) -> npt.NDArray[Any]:
        arrays = [getattr(row, name) for row in rows]
        return np.stack([np.pad(a, (0, longest - len(a)), constant_values=fill) for a in arrays])

    return Packed(
        ids=stacked("ids", PADDING),
        targets=stacked("targets", 0),
        weights=stacked("weights", 0),
        positions=stacked("positions", 0),
        segments=stacked("segments", 0),
    )
