"""Shows a rendered scene in a mirror and in another light, so that few scenes teach like many.

Everything that the answers say is mirrored along: places, their order, the cells.

P patches and Q cells of the global crop
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from molmo_model.config import CropConfig
from molmo_model.points import Point, format_count, format_points, parse_points
from molmo_training.scenes import Seen

Floats = npt.NDArray[np.float32]
# Drawn once: a crop's noise is a piece of it that starts anywhere.
_NOISE = np.random.default_rng(0).standard_normal(2_000_000, dtype=np.float32) * np.float32(0.03)


def relight(crop: Floats, rng: np.random.Generator) -> Floats:
    """Another exposure and some noise: (P, 588), normalised, so with a spread of about 1."""
    gain, offset = rng.uniform(0.85, 1.15), rng.uniform(-0.12, 0.12)
    start = rng.integers(len(_NOISE) - crop.size)
    noise = _NOISE[start : start + crop.size].reshape(crop.shape)
    lit: Floats = crop * np.float32(gain) + np.float32(offset) + noise
    return lit


def mirror_crop(crop: Floats, config: CropConfig) -> Floats:
    """Left and right exchanged: (P, 588) -> (P, 588)."""
    side, patch = config.patches_per_side, config.patch
    cells = crop.reshape(side, side, patch, patch, 3)[:, ::-1, :, ::-1]
    return cells.reshape(crop.shape)


def mirror_cells(cells: npt.NDArray[np.int8], config: CropConfig) -> npt.NDArray[np.int8]:
    """Left and right exchanged: (Q,) -> (Q,)."""
    side = config.pooled_per_side
    return cells.reshape(side, side)[:, ::-1].reshape(cells.shape)


def mirror_objects(objects: Sequence[Seen]) -> list[Seen]:
    """The objects as a mirror shows them."""
    return [(colour, shape, 100 - x, y) for colour, shape, x, y in objects]


def mirror_answer(kind: str, answer: str) -> str:
    """A pointing or counting answer about the mirrored picture."""
    points: list[Point] = [replace(p, x=100 - p.x) for p in parse_points(answer)]
    if not points:
        return answer
    write = format_count if kind == "count" else format_points
    return write(points, points[0].label)
