"""Shows a rendered scene in a mirror and in another light, so that few scenes teach like many.

Everything that the answers say is mirrored along: places, their order, the cells.

P patches of the crop, C crops, Q cells per crop
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from molmo_model.config import CropConfig
from molmo_model.points import Point, format_count, format_points, parse_points
from molmo_training.scenes import SceneTruth

Floats = npt.NDArray[np.float32]


def relight(crop: Floats, rng: np.random.Generator) -> Floats:
    """Another exposure and some noise: (P, 588), normalised, so with a spread of about 1."""
    gain, offset = rng.uniform(0.85, 1.15), rng.uniform(-0.12, 0.12)
    noise = rng.standard_normal(crop.shape, dtype=np.float32)
    lit: Floats = crop * np.float32(gain) + np.float32(offset) + np.float32(0.03) * noise
    return lit


def mirror_crop(crop: Floats, config: CropConfig) -> Floats:
    """Left and right exchanged: (P, 588) -> (P, 588)."""
    side, patch = config.patches_per_side, config.patch
    cells = crop.reshape(side, side, patch, patch, 3)[:, ::-1, :, ::-1]
    return cells.reshape(crop.shape)


def mirror_cells(cells: npt.NDArray[np.int8], config: CropConfig) -> npt.NDArray[np.int8]:
    """Left and right exchanged: (C, Q) -> (C, Q)."""
    side = config.pooled_per_side
    return cells.reshape(len(cells), side, side)[:, :, ::-1].reshape(cells.shape)


def mirror_truth(truth: SceneTruth) -> SceneTruth:
    """The truth as a mirror shows it, without descriptions, which go from left to right."""
    objects = [(colour, shape, 100 - x, y) for colour, shape, x, y in truth.objects]
    questions = [
        (kind, prompt, _mirrored(kind, answer))
        for kind, prompt, answer in truth.questions
        if kind != "describe"
    ]
    return SceneTruth(objects, questions)


def _mirrored(kind: str, answer: str) -> str:
    points: list[Point] = [replace(p, x=100 - p.x) for p in parse_points(answer)]
    if not points:
        return answer
    write = format_count if kind == "count" else format_points
    return write(points, points[0].label)
