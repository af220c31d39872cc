"""Turns a picture into what the network sees: crops, padding masks, tokens and their index.

Exact in float32 arithmetic where the published preprocessing is (tiling, sizes), and a float
antialiased bilinear resize like its own. No torch, no files.

C crops, P patches per crop, Q pooled patches per crop, N image tokens
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from molmo_model.config import CropConfig, ImageTokens, MolmoConfig
from molmo_model.resize import Floats, Resizer

Ints = npt.NDArray[np.int64]
Picture = npt.NDArray[np.uint8]  # (H, W, 3)
STRIP_VALUES = 3 << 18  # of rows that wait for their columns: 3 MiB
DROPPED = -100  # in `index`: this pooled patch is nobody's (an overlap)


@dataclass(frozen=True)
class ImageInputs:
    """One picture, ready for the network.

    crops:  (C, P, 588) float32, the global crop first, patches flattened row, column, RGB
    masks:  (C, P) float32, share of real pixels. As published, rows stand one off the crops:
            first the high-resolution crops, then a row of -1 (the weights were trained so)
    tokens: (N,) int64, without BOS
    index:  (C, Q) int64, position of each pooled patch in the sequence that starts with BOS;
            negative = dropped
    """

    crops: Floats
    masks: Floats
    tokens: Ints
    index: Ints


def prepare_image(rgb: Picture, config: MolmoConfig) -> ImageInputs:
    """Cuts a picture into one global and up to `max_crops` high-resolution crops.

    rgb: (H, W, 3) uint8; raises ValueError for anything else or an empty picture.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or rgb.size == 0:
        raise ValueError(f"a picture is (H, W, 3) uint8, got {rgb.shape} {rgb.dtype}")
    layout = _layout(rgb.shape[0], rgb.shape[1], config.crops, config.image_tokens)
    return ImageInputs(
        crops=_cut(rgb, layout.tiles, config.crops),
        masks=layout.masks.copy(),
        tokens=layout.tokens.copy(),
        index=layout.index.copy(),
    )


@dataclass(frozen=True)
class _Layout:
    """What a picture's size alone decides."""

    tiles: tuple[int, int]
    masks: Floats
    tokens: Ints
    index: Ints


@lru_cache(maxsize=16)  # a camera's pictures have one size
def _layout(height: int, width: int, crops: CropConfig, ids: ImageTokens) -> _Layout:
    tiles = choose_tiles(height, width, crops)
    return _Layout(
        tiles=tiles,
        masks=_masks(height, width, tiles, crops),
        tokens=_image_tokens(tiles, crops, ids),
        index=_token_index(tiles, crops),
    )


def choose_tiles(height: int, width: int, crops: CropConfig) -> tuple[int, int]:
    """Rows and columns of high-resolution crops: least upscaling, else least downscaling."""
    candidates = [
        (i, j)
        for i in range(1, crops.max_crops + 1)
        for j in range(1, crops.max_crops + 1)
        if i * j <= crops.max_crops
    ]
    candidates.sort(key=lambda tiling: (tiling[0] * tiling[1], tiling[0]))
    original = np.array([height, width], np.float32) - np.float32(crops.margin_px)
    with np.errstate(divide="ignore"):  # a side as long as the margins: the other one decides
        sizes = np.array(candidates, np.float32) * np.float32(crops.window_px)
        scales = (sizes / original).min(axis=1)
    if (scales < 1).all():
        return candidates[int(scales.argmax())]
    return candidates[int(np.where(scales < 1, np.float32(np.inf), scales).argmin())]


def _cut(rgb: Picture, tiles: tuple[int, int], crops: CropConfig) -> Floats:
    """The crops: (C, P, 588)."""
    side = crops.patches_per_side
    count = 1 + tiles[0] * tiles[1]
    pixels = np.empty((count, side, side, crops.patch, crops.patch * 3), np.float32)
    _draw(pixels[:1], [(0, 0)], rgb, (side, side), crops)
    if tiles == (1, 1):  # a single tile shows what the global crop shows
        pixels[1] = pixels[0]
    else:
        _draw(pixels[1:], _corners(tiles, crops), rgb, _fine_grid(tiles, crops, 1), crops)
    return pixels.reshape(count, side**2, -1)


def _draw(
    pixels: Floats,
    corners: list[tuple[int, int]],
    rgb: Picture,
    grid: tuple[int, int],
    crops: CropConfig,
) -> None:
    """Fits a picture into a grid of patches and copies from there what each crop shows.

    pixels:  (n, side, side, patch, patch * 3), the crops
    corners: row and column of the grid where each begins
    """
    for first, strip in _strips(rgb, grid, crops):
        for crop, (row, column) in zip(pixels, corners, strict=True):
            start, stop = max(first, row), min(first + len(strip), row + len(crop))
            if start < stop:
                part = strip[start - first : stop - first, column : column + len(crop)]
                crop[start - row : stop - row] = part


def _strips(
    rgb: Picture, grid: tuple[int, int], crops: CropConfig
) -> Iterator[tuple[int, Floats]]:
    """Fits a picture into a grid of patches, centred on black, and normalises it.

    yields: strips of the grid, to be read while they are in the cache: their first row, and
            (rows, columns, patch, patch * 3), which the next strip overwrites
    """
    patch, mean, std = crops.patch, np.array(crops.mean), np.array(crops.std)
    offset, gain = (-255 * mean).astype(np.float32), (1 / (255 * std)).astype(np.float32)
    size = [n * patch for n in grid]
    height, width, top, left = fit_inside(rgb.shape[0], rgb.shape[1], size)
    picture = Resizer(rgb, (height, width), offset, gain)
    rows = min(max(1, STRIP_VALUES // (patch * rgb.shape[1] * 3)), grid[0])
    rows = -(-grid[0] // -(-grid[0] // rows))  # as many in the last strip as in the others
    strip = np.empty((rows * patch, grid[1] * patch * 3), np.float32)
    patches = strip.reshape(rows, patch, grid[1], patch * 3).swapaxes(1, 2)
    black = np.tile(offset * gain, grid[1] * patch)
    inside = slice(left * 3, (left + width) * 3)
    for beside in (slice(inside.start), slice(inside.stop, None)):
        strip[:, beside] = black[beside]
    for first in range(0, grid[0], rows):
        above = top - first * patch  # lines of the strip; negative: that of the picture
        start, stop = (min(max(line, 0), len(strip)) for line in (above, above + height))
        strip[:start] = strip[stop:] = black
        picture.rows_into(strip[start:stop, inside], max(0, -above))
        yield first, patches[: grid[0] - first]


def _masks(height: int, width: int, tiles: tuple[int, int], crops: CropConfig) -> Floats:
    """(C, P): the share of the picture in each patch, as ImageInputs has them."""
    grid, side = _fine_grid(tiles, crops, 1), crops.patches_per_side
    fit = fit_inside(height, width, [n * crops.patch for n in grid])
    rows = _covered(fit[2], fit[0], grid[0], crops.patch)
    columns = _covered(fit[3], fit[1], grid[1], crops.patch)
    shares = np.outer(rows, columns) / np.float32(crops.patch**2)
    masks = np.full((1 + tiles[0] * tiles[1], side, side), -1, np.float32)
    for mask, (row, column) in zip(masks, _corners(tiles, crops), strict=False):
        mask[:] = shares[row : row + side, column : column + side]
    return masks.reshape(len(masks), -1)


def _covered(first: int, length: int, patches: int, patch: int) -> Floats:
    """How many lines of each patch of an axis lie in first .. first + length: (patches,)."""
    edges = np.clip(np.arange(patches + 1) * patch, first, first + length)
    return np.diff(edges).astype(np.float32)


def fit_inside(height: int, width: int, size: list[int]) -> tuple[int, int, int, int]:
    """How a picture is fitted into (H, W) = size: its height, width, top and left, in pixels.

    Truncated in float32 as published; a very thin side would vanish, so it keeps one pixel.
    """
    scale = min(np.float32(size[0]) / np.float32(height), np.float32(size[1]) / np.float32(width))
    h, w = (max(1, int(np.float32(n) * scale)) for n in (height, width))
    return h, w, (size[0] - h) // 2, (size[1] - w) // 2


def _corners(tiles: tuple[int, int], crops: CropConfig) -> list[tuple[int, int]]:
    """Where in that grid each crop begins."""
    own = crops.window_px // crops.patch
    return [(r * own, c * own) for r, c in np.ndindex(*tiles)]


def _fine_grid(tiles: tuple[int, int], crops: CropConfig, pool: int) -> tuple[int, int]:
    """Rows and columns of the high-resolution picture without its overlaps, pooled or not (1)."""
    own = crops.window_px // crops.patch // pool
    margin = sum(crops.margins) // pool
    return tiles[0] * own + margin, tiles[1] * own + margin


def _image_tokens(tiles: tuple[int, int], crops: CropConfig, ids: ImageTokens) -> Ints:
    """start, rows of patches that each end in a column token, end; coarse first, then fine."""

    def grid(rows: int, columns: int) -> list[int]:
        return [ids.start, *([*[ids.patch] * columns, ids.column] * rows), ids.end]

    side = crops.pooled_per_side
    return np.array(grid(side, side) + grid(*_fine_grid(tiles, crops, crops.pool)), np.int64)


def _token_index(tiles: tuple[int, int], crops: CropConfig) -> Ints:
    """(C, Q): where each pooled patch stands, counted with the BOS in front."""
    side = crops.pooled_per_side
    rows, columns = _fine_grid(tiles, crops, crops.pool)
    first = 2  # BOS, start
    index = np.full((1 + tiles[0] * tiles[1], side, side), DROPPED, np.int64)
    index[0] = _raster(first, side, side)
    fine = _raster(first + side * (side + 1) + 2, rows, columns)
    own = crops.window_px // crops.patch // crops.pool
    for crop, (r, c) in enumerate(np.ndindex(*tiles), start=1):
        y, x = _owned(r, tiles[0], crops), _owned(c, tiles[1], crops)
        index[crop, y, x] = fine[r * own :, c * own :][y, x]
    return index.reshape(len(index), -1)


def _raster(first: int, rows: int, columns: int) -> Ints:
    """Positions of a grid whose rows each end in one column token."""
    return first + np.arange(rows)[:, None] * (columns + 1) + np.arange(columns)


def _owned(tile: int, tiles: int, crops: CropConfig) -> slice:
    """The pooled lines of a crop that no neighbour owns; margins belong to the outermost crops."""
    before, after = (margin // crops.pool for margin in crops.margins)
    start = 0 if tile == 0 else before
    stop = crops.pooled_per_side - (0 if tile == tiles - 1 else after)
    return slice(start, stop)
