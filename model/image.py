"""Turns a picture into what the network sees: crops, padding masks, tokens and their index.

Exact in float32 arithmetic where the published preprocessing is (tiling, sizes), and a float
antialiased bilinear resize like its own. No torch, no files.

C crops, P patches per crop, Q pooled patches per crop, N image tokens
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from molmo_model.config import CropConfig, ImageTokens, MolmoConfig
from molmo_model.resize import Floats, resize_into

Ints = npt.NDArray[np.int64]
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


def prepare_image(rgb: npt.NDArray[np.uint8], config: MolmoConfig) -> ImageInputs:
    """Cuts a picture into one global and up to `max_crops` high-resolution crops.

    rgb: (H, W, 3) uint8; raises ValueError for anything else or an empty picture.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or rgb.size == 0:
        raise ValueError(f"a picture is (H, W, 3) uint8, got {rgb.shape} {rgb.dtype}")
    crops = config.crops
    tiles = choose_tiles(rgb.shape[0], rgb.shape[1], crops)
    pixels, masks = _cut(rgb, tiles, crops)
    return ImageInputs(
        crops=pixels,
        masks=masks,
        tokens=_image_tokens(tiles, crops, config.image_tokens),
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


def _cut(
    rgb: npt.NDArray[np.uint8], tiles: tuple[int, int], crops: CropConfig
) -> tuple[Floats, Floats]:
    """Crops and masks."""
    side, own = crops.patches_per_side, crops.window_px // crops.patch
    count = 1 + tiles[0] * tiles[1]
    pixels = np.empty((count, side, side, crops.patch, crops.patch * 3), np.float32)
    masks = np.full((count, side, side), -1, np.float32)
    pixels[0], real = fine, _ = _fit_patches(rgb, (side, side), crops)
    margin = sum(crops.margins)
    if tiles != (1, 1):  # a single tile shows what the global crop shows
        grid = (tiles[0] * own + margin, tiles[1] * own + margin)
        fine, real = _fit_patches(rgb, grid, crops)
    for tile, (r, c) in enumerate(np.ndindex(*tiles)):
        window = np.s_[r * own : r * own + side, c * own : c * own + side]
        pixels[tile + 1] = fine[window]
        masks[tile] = real[window]
    return pixels.reshape(count, side**2, -1), masks.reshape(count, side**2)


def _fit_patches(
    rgb: npt.NDArray[np.uint8], grid: tuple[int, int], crops: CropConfig
) -> tuple[Floats, Floats]:
    """Fits a picture into a grid of patches, centred on black, and normalises it.

    returns: (rows, columns, patch, patch * 3), a view of whole rows of pixels;
             and (rows, columns), the share of the picture in each patch
    """
    patch, mean, std = crops.patch, np.array(crops.mean), np.array(crops.std)
    offset, gain = (-255 * mean).astype(np.float32), (1 / (255 * std)).astype(np.float32)
    height, width, top, left = fit_inside(*rgb.shape[:2], [n * patch for n in grid])
    canvas = np.empty((grid[0] * patch, grid[1] * patch * 3), np.float32)
    black = np.tile(offset * gain, grid[1] * patch)
    above, below = slice(top), slice(top + height, None)
    before, after = slice(left * 3), slice((left + width) * 3, None)
    canvas[above] = canvas[below] = black
    canvas[:, before], canvas[:, after] = black[before], black[after]
    resize_into(canvas[top : below.start, before.stop : after.start], rgb, offset, gain)
    rows = _covered(top, height, grid[0], patch)
    columns = _covered(left, width, grid[1], patch)
    real = np.outer(rows, columns) / np.float32(patch**2)
    return canvas.reshape(grid[0], patch, grid[1], patch * 3).swapaxes(1, 2), real


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


def _fine_grid(tiles: tuple[int, int], crops: CropConfig) -> tuple[int, int]:
    """Pooled rows and columns of the high-resolution picture without its overlaps."""
    own = crops.window_px // crops.patch // crops.pool
    margin = sum(crops.margins) // crops.pool
    return tiles[0] * own + margin, tiles[1] * own + margin


def _image_tokens(tiles: tuple[int, int], crops: CropConfig, ids: ImageTokens) -> Ints:
    """start, rows of patches that each end in a column token, end; coarse first, then fine."""

    def grid(rows: int, columns: int) -> list[int]:
        return [ids.start, *([*[ids.patch] * columns, ids.column] * rows), ids.end]

    side = crops.pooled_per_side
    return np.array(grid(side, side) + grid(*_fine_grid(tiles, crops)), np.int64)


def _token_index(tiles: tuple[int, int], crops: CropConfig) -> Ints:
    """(C, Q): where each pooled patch stands, counted with the BOS in front."""
    side = crops.pooled_per_side
    rows, columns = _fine_grid(tiles, crops)
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
