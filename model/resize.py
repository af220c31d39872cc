"""Resizes a picture to any size: antialiased bilinear, in float32, without torch.

The filter is the published one, a triangle with half-pixel centres that widens with the downscale
factor; its centres are rounded to float32 as torch rounds them. A resized line reads few source
lines, so either axis is a product with a narrow band matrix. It is taken block by block, and BLAS
does the work: rows first, then columns, which keep the colours apart by zeros. The matrices are
kept: a camera's pictures have one size. Knows nothing of crops and patches.

H, W picture, h, w resized picture, b resized lines in a block, K source lines that a block reads
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

# Lines in a block. Long blocks multiply more zeros, short ones call more often and leave SIMD
# lanes empty: 8 pixels are 24 values.
BLOCK = 8
BLOCK_WHEN_SMALLER = 4  # for rows that shrink to less than half: a block reads many of them
STRIP_VALUES = 1 << 20  # of rows that wait for their columns: 4 MiB


@dataclass(frozen=True)
class _Block:
    """Some lines of a resized axis, and the matrix that makes them of some lines of the source."""

    target: slice
    source: slice
    weights: Floats


def resize_into(out: Floats, rgb: npt.NDArray[np.uint8], offset: Floats, gain: Floats) -> None:
    """Fills `out` with the resized picture, to which it adds an offset before it applies a gain.

    out:          (h, w * 3) float32, each row may lie anywhere
    rgb:          (H, W, 3) uint8
    offset, gain: (3,) float32, one for each colour
    """
    (height, width), lines = rgb.shape[:2], rgb.reshape(len(rgb), -1)
    down = _row_blocks(height, len(out))
    across = _column_blocks(width, out.shape[1] // 3, tuple(gain.tolist()))
    block, taps = down[0].weights.shape
    step = max(1, STRIP_VALUES // (block * lines.shape[1]))  # blocks of rows in a strip
    step = -(-len(down) // -(-len(down) // step))  # as many in the last strip as in the others
    room = np.empty((step * block, lines.shape[1]), np.float32)  # one for all strips
    read = np.empty((taps, lines.shape[1]), np.float32)
    read[-1] = np.tile(offset, width)
    for first in range(0, len(down), step):
        strip = down[first : first + step]
        top, bottom = strip[0].target.start, strip[-1].target.stop
        for rows in strip:
            read[:-1] = lines[rows.source]
            start = rows.target.start - top
            np.matmul(rows.weights, read, out=room[start : start + block])
        for columns in across:
            source, target = room[: bottom - top, columns.source], out[top:bottom, columns.target]
            np.matmul(source, columns.weights, out=target)


@lru_cache(maxsize=16)
def _row_blocks(source: int, target: int) -> list[_Block]:
    """Blocks of rows, weights (b, K + 1): the last is that of the offset."""
    blocks = _blocks(source, target, BLOCK_WHEN_SMALLER if 2 * target < source else BLOCK)
    return [
        _Block(each.target, each.source, np.pad(each.weights, ((0, 0), (0, 1)), constant_values=1))
        for each in blocks
    ]


@lru_cache(maxsize=16)
def _column_blocks(source: int, target: int, gain: tuple[float, ...]) -> list[_Block]:
    """Blocks of columns, counted in values: weights (K * 3, b * 3) keep R, G and B apart."""
    colours = np.diag(np.array(gain, np.float32))
    return [
        _Block(_values(each.target), _values(each.source), np.kron(each.weights.T, colours))
        for each in _blocks(source, target, BLOCK)
    ]


def _values(pixels: slice) -> slice:
    return slice(pixels.start * 3, pixels.stop * 3)


def _blocks(source: int, target: int, block: int) -> list[_Block]:
    """The triangle filter from `source` to `target` lines, weights (b, K).

    All blocks have the same shape: the last one ends with the picture, if need be by overlap.
    """
    block = min(block, target)
    firsts = np.minimum(np.arange(0, target, block), target - block)
    scale = np.float32(source) / np.float32(target)
    support = max(float(scale), 1.0)
    lines = firsts[:, None] + np.arange(block)
    centres = ((lines + 0.5) * float(scale)).astype(np.float32)
    taps = min(int(np.ceil((centres[:, -1] - centres[:, 0]).max() + 2 * support)), source)
    starts = np.maximum(centres[:, 0] - support + 0.5, 0).astype(np.int64)
    starts = np.minimum(starts, source - taps)
    read = starts[:, None, None] + np.arange(taps) + 0.5
    weights = np.maximum(1 - np.abs(read - centres[..., None]) / support, 0)
    weights = (weights / weights.sum(axis=2, keepdims=True)).astype(np.float32)
    return [
        _Block(slice(first, first + block), slice(start, start + taps), matrix)
        for first, start, matrix in zip(firsts.tolist(), starts.tolist(), weights, strict=True)
    ]
