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

Floats = npt.NDArray[np.float32]
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
    side = crops.size
    fine, real = _resize_and_pad(
        rgb, [n * crops.window_px + crops.margin_px for n in tiles], crops
    )
    coarse, _ = _resize_and_pad(rgb, [side, side], crops)
    corners = [(r * crops.window_px, c * crops.window_px) for r, c in np.ndindex(*tiles)]
    pictures = [coarse] + [fine[y : y + side, x : x + side] for y, x in corners]
    covers = [real[y : y + side, x : x + side] for y, x in corners]
    masks = np.full((len(pictures), crops.patches), -1, np.float32)
    masks[:-1] = _to_patches(np.stack(covers)[..., None], crops.patch).mean(-1)
    return ImageInputs(
        crops=_to_patches(np.stack(pictures), crops.patch),
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


def resize(rgb: npt.NDArray[np.uint8], height: int, width: int) -> Floats:
    """Antialiased bilinear resize with half-pixel centres: (H, W, 3) uint8 -> (h, w, 3) in 0..1.

    The triangle filter is widened by the downscale factor, as torch and Pillow do it, in float32.
    """
    rows = _resample(rgb.reshape(len(rgb), -1), height).reshape(height, -1, 3)
    columns = np.ascontiguousarray(rows.transpose(1, 0, 2)).reshape(rgb.shape[1], -1)
    resized = _resample(columns, width).reshape(width, height, 3).transpose(1, 0, 2)
    scaled: Floats = resized / np.float32(255)
    return scaled


def _resample(lines: npt.NDArray[np.uint8] | Floats, count: int) -> Floats:
    """Resizes the first axis: (n, K) -> (count, K)."""
    taps, weights = _triangle_filter(len(lines), count)
    out = np.empty((count, lines.shape[1]), np.float32)
    step = max(1, (1 << 22) // (taps.shape[1] * lines.shape[1]))  # keep the gathered block small
    for start in range(0, count, step):
        block = slice(start, start + step)
        gathered = lines[taps[block]].astype(np.float32, copy=False)
        out[block] = np.matmul(weights[block, None], gathered)[:, 0]
    return out


def _triangle_filter(source: int, target: int) -> tuple[npt.NDArray[np.intp], Floats]:
    """For every output line the input lines it reads and their weights, both (target, taps)."""
    scale = source / target
    support = max(scale, 1.0)
    centres = (np.arange(target) + 0.5) * scale
    first = np.maximum((centres - support + 0.5).astype(int), 0)
    last = np.minimum((centres + support + 0.5).astype(int), source)
    taps = first[:, None] + np.arange(int((last - first).max()))
    weights = np.maximum(1 - np.abs(taps + 0.5 - centres[:, None]) / support, 0)
    weights[taps >= last[:, None]] = 0
    weights /= weights.sum(axis=1, keepdims=True)
    return np.minimum(taps, source - 1), weights.astype(np.float32)


def _resize_and_pad(
    rgb: npt.NDArray[np.uint8], size: list[int], crops: CropConfig
) -> tuple[Floats, Floats]:
    """Fits a picture into (H, W) = size, centred on black, and normalises it.

    returns: (H, W, 3) normalised, and (H, W), 1 where the picture is.
    """
    h, w, top, left = fit_inside(rgb.shape[0], rgb.shape[1], size)
    mean, std = np.array(crops.mean, np.float32), np.array(crops.std, np.float32)
    canvas = np.tile(-mean / std, (*size, 1))
    canvas[top : top + h, left : left + w] = (resize(rgb, h, w) - mean) / std
    real = np.zeros(size, np.float32)
    real[top : top + h, left : left + w] = 1
    return canvas, real


def fit_inside(height: int, width: int, size: list[int]) -> tuple[int, int, int, int]:
    """How a picture is fitted into (H, W) = size: its height, width, top and left, in pixels.

    Truncated in float32 as published; a very thin side would vanish, so it keeps one pixel.
    """
    scale = min(np.float32(size[0]) / np.float32(height), np.float32(size[1]) / np.float32(width))
    h, w = (max(1, int(np.float32(n) * scale)) for n in (height, width))
    return h, w, (size[0] - h) // 2, (size[1] - w) // 2


def _to_patches(pictures: Floats, patch: int) -> Floats:
    """(C, side, side, K) -> (C, P, patch * patch * K), raster order, each patch row by row."""
    count, side, _, channels = pictures.shape
    n = side // patch
    cells = pictures.reshape(count, n, patch, n, patch, channels).transpose(0, 1, 3, 2, 4, 5)
    return np.ascontiguousarray(cells.reshape(count, n * n, patch * patch * channels))


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
