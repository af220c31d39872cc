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


@dataclass(frozen=True)
class _Block:
    """Some lines of a resized axis, and the matrix that makes them of some lines of the source."""

    target: slice
    source: slice
    weights: Floats


class Resizer:
    """Resizes a picture, some rows at a time; adds an offset, then applies a gain, per colour."""

    def __init__(
        self, rgb: npt.NDArray[np.uint8], size: tuple[int, int], offset: Floats, gain: Floats
    ) -> None:
        """rgb: (H, W, 3) uint8; size: (h, w); offset, gain: (3,) float32."""
        self._lines, self._size = rgb.reshape(len(rgb), -1), size
        self._offset = np.tile(offset, rgb.shape[1])
        self._across = _column_blocks(rgb.shape[1], size[1], tuple(gain.tolist()))
        self._room = np.empty((0, rgb.shape[1] * 3), np.float32)

    def rows_into(self, out: Floats, first: int) -> None:
        """Fills `out`, (n, w * 3) float32, with n rows from `first` on."""
        if len(out) == 0:
            return
        if len(out) > len(self._room):  # the same memory for all strips
            self._room = np.empty((len(out), self._room.shape[1]), np.float32)
        tall = self._room[: len(out)]
        self._resize_rows(tall, first)
        for columns in self._across:
            np.matmul(tall[:, columns.source], columns.weights, out=out[:, columns.target])

    def _resize_rows(self, out: Floats, first: int) -> None:
        """The same rows, still as wide as the source: (n, W * 3)."""
        down = _row_blocks(len(self._lines), self._size[0], first, len(out))
        read = np.empty((down[0].weights.shape[1], out.shape[1]), np.float32)
        read[-1] = self._offset
        for rows in down:
            read[:-1] = self._lines[rows.source]
            np.matmul(rows.weights, read, out=out[rows.target])


@lru_cache(maxsize=64)
def _row_blocks(source: int, target: int, first: int, count: int) -> list[_Block]:
    """Blocks of `count` rows from `first` on; weights (b, K + 1), the last is the offset's."""
    block = BLOCK_WHEN_SMALLER if 2 * target < source else BLOCK
    return [
        _Block(each.target, each.source, np.pad(each.weights, ((0, 0), (0, 1)), constant_values=1))
        for each in _blocks(source, target, block, first, count)
    ]


@lru_cache(maxsize=16)
def _column_blocks(source: int, target: int, gain: tuple[float, ...]) -> list[_Block]:
    """Blocks of columns, counted in values: weights (K * 3, b * 3) keep R, G and B apart."""
    colours = np.diag(np.array(gain, np.float32))
    return [
        _Block(_values(each.target), _values(each.source), np.kron(each.weights.T, colours))
        for each in _blocks(source, target, BLOCK, 0, target)
    ]


def _values(pixels: slice) -> slice:
    return slice(pixels.start * 3, pixels.stop * 3)


def _blocks(source: int, target: int, block: int, first: int, count: int) -> list[_Block]:
    """The filter from `source` to `target` lines, of which it makes `count` from `first` on.

    All blocks have the same shape, weights (b, K): the last one ends with the lines, if need be by
    overlap. Their targets count from `first`.
    """
    block = min(block, count)
    begins = np.minimum(np.arange(0, count, block), count - block)
    scale = np.float32(source) / np.float32(target)
    support = max(float(scale), 1.0)
    lines = first + begins[:, None] + np.arange(block)
    centres = ((lines + 0.5) * float(scale)).astype(np.float32)
    taps = min(int(np.ceil((centres[:, -1] - centres[:, 0]).max() + 2 * support)), source)
    starts = np.maximum(centres[:, 0] - support + 0.5, 0).astype(np.int64)
    starts = np.minimum(starts, source - taps)
    read = starts[:, None, None] + np.arange(taps) + 0.5
    weights = np.maximum(1 - np.abs(read - centres[..., None]) / support, 0)
    weights = (weights / weights.sum(axis=2, keepdims=True)).astype(np.float32)
    return [
        _Block(slice(begin, begin + block), slice(start, start + taps), matrix)
        for begin, start, matrix in zip(begins.tolist(), starts.tolist(), weights, strict=True)
    ]
