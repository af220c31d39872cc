"""Resizes a picture straight into ViT patches: antialiased bilinear, in float32, without torch.

The filter is the published one, a triangle with half-pixel centres that widens with the downscale
factor; its centres are rounded to float32 as torch rounds them. A resized line reads few source
lines, so either axis is a product with a narrow band matrix. It is taken block by block, and BLAS
does the work: rows first, then columns, which land where their patch keeps them. The matrices are
kept: a camera's pictures have one size. Knows nothing of crops, padding values and normalisation:
what lies outside the picture is zero.

H, W picture, R, C patches in the grid, K source lines that a block reads
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

# Lines in a block. Long blocks multiply more zeros, short ones call more often and leave SIMD
# lanes empty: 8 pixels are 24 values.
BLOCK = 8
BLOCK_WHEN_SMALLER = 4  # for rows that shrink to less than half: a block reads many of them
STRIP_VALUES = 1 << 20  # of rows that wait for their columns: 4 MiB


@dataclass(frozen=True)
class Fit:
    """Where the resized picture lies on a canvas of whole patches, in pixels."""

    height: int
    width: int
    top: int
    left: int


@dataclass(frozen=True)
class _Bands:
    """An axis of a resize as blocks of a band matrix.

    starts:  (n,) int64, the first source line of each block
    weights: (n, b, K) float32, of its b resized lines; 0 outside the picture
    """

    starts: Ints
    weights: Floats


def resize_to_patches(
    rgb: npt.NDArray[np.uint8], fit: Fit, grid: tuple[int, int], patch: int, gain: Floats
) -> Floats:
    """Fits a picture into a grid of patches, its values multiplied by a gain per colour.

    rgb:     (H, W, 3) uint8
    gain:    (3,) float32
    returns: (R, C, patch * patch * 3), each patch row by row; zero outside the picture
    """
    rows = range(fit.top // patch, -(-(fit.top + fit.height) // patch))  # that see the picture
    columns = range(fit.left // patch, -(-(fit.left + fit.width) // patch))
    across = _column_matrices(rgb.shape[1], fit, columns, patch, tuple(gain.tolist()))
    canvas = np.empty((grid[1], grid[0] * patch, patch * 3), np.float32)  # a patch lies in one
    canvas[: columns.start] = canvas[columns.stop :] = 0
    canvas[:, : rows.start * patch] = canvas[:, rows.stop * patch :] = 0
    step = min(max(1, STRIP_VALUES // (patch * rgb.shape[1] * 3)), len(rows))
    room = np.empty((step * patch + BLOCK, rgb.shape[1] * 3), np.float32)  # one for all strips
    for first in range(rows.start, rows.stop, step):
        wanted = slice(first * patch, min(first + step, rows.stop) * patch)
        strip = _resize_rows(rgb, wanted, fit, room)
        for piece, start, weights in across:
            column, offset = divmod(piece, patch)
            target = canvas[column, wanted, offset * 3 : offset * 3 + weights.shape[1]]
            np.matmul(strip[:, start * 3 : start * 3 + len(weights)], weights, out=target)
    patches: Floats = canvas.reshape(grid[1], grid[0], -1).swapaxes(0, 1)
    return patches


def _resize_rows(rgb: npt.NDArray[np.uint8], wanted: slice, fit: Fit, room: Floats) -> Floats:
    """The wanted rows of the canvas, still as wide as the source: (n, W * 3), a part of `room`."""
    lines = rgb.reshape(len(rgb), -1)
    block = BLOCK_WHEN_SMALLER if 2 * fit.height < len(rgb) else BLOCK
    count = wanted.stop - wanted.start
    down = _row_bands(len(rgb), fit.height, wanted.start - fit.top, -(-count // block), block)
    read = np.empty((down.weights.shape[2], lines.shape[1]), np.float32)
    for number, start in enumerate(down.starts):
        read[:] = lines[start : start + len(read)]
        np.matmul(down.weights[number], read, out=room[number * block : (number + 1) * block])
    return room[:count]


@lru_cache(maxsize=64)
def _row_bands(source: int, target: int, first: int, blocks: int, block: int) -> _Bands:
    """The filter of blocks of rows from `first` on, counted in the picture."""
    return _bands(first + np.arange(blocks * block).reshape(-1, block), source, target)


@lru_cache(maxsize=16)
def _column_matrices(
    source: int, fit: Fit, columns: range, patch: int, gain: tuple[float, ...]
) -> list[tuple[int, int, Floats]]:
    """The filter of each block of columns: its first canvas column and source column, matrix."""
    pieces = _pieces(columns, patch)
    bands = _bands(pieces - fit.left, source, fit.width)
    spread = _spread_colours(bands.weights, np.array(gain, np.float32))
    return list(zip(pieces[:, 0].tolist(), bands.starts.tolist(), spread, strict=True))


def _pieces(columns: range, patch: int) -> Ints:
    """Canvas columns of each block: (n, b). Blocks end with their patch, if need be by overlap."""
    block = min(BLOCK, patch)
    offsets = np.linspace(0, patch - block, -(-patch // block)).astype(np.int64)
    firsts = (np.array(columns)[:, None] * patch + offsets).ravel()
    return firsts[:, None] + np.arange(block)


def _bands(pixels: Ints, source: int, target: int) -> _Bands:
    """The triangle filter from `source` to `target` lines, for blocks of target lines (n, b)."""
    scale = np.float32(source) / np.float32(target)
    support = max(float(scale), 1.0)
    centres = ((np.clip(pixels, 0, target - 1) + 0.5) * float(scale)).astype(np.float32)
    reach = int(np.ceil((centres[:, -1] - centres[:, 0]).max() + 2 * support))
    starts = np.maximum(centres[:, 0] - support + 0.5, 0).astype(np.int64)
    starts = np.minimum(starts, max(source - reach, 0))
    taps = starts[:, None, None] + np.arange(min(reach, source)) + 0.5
    weights = np.maximum(1 - np.abs(taps - centres[..., None]) / support, 0)
    weights /= weights.sum(axis=2, keepdims=True)
    weights[(pixels < 0) | (pixels >= target)] = 0
    return _Bands(starts, weights.astype(np.float32))


def _spread_colours(weights: Floats, gain: Floats) -> Floats:
    """Weights of pixels (n, b, K) as matrices (n, K * 3, b * 3) that keep R, G and B apart."""
    count, block, taps = weights.shape
    spread = np.zeros((count, taps, 3, block, 3), np.float32)
    for colour in range(3):
        spread[:, :, colour, :, colour] = weights.swapaxes(1, 2) * gain[colour]
    return spread.reshape(count, taps * 3, block * 3)
