"""The recipes make the pictures that the golden numbers were computed from."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from recipes import GOLDEN, hash_pixels, recipe_image, recipe_rgb

CASES = json.loads((GOLDEN / "preprocessing" / "preprocessing.json").read_text())["cases"]


@pytest.mark.parametrize("name", CASES)
def test_recipe_gives_the_recorded_picture(name):
    case = CASES[name]
    rgb = recipe_rgb(case["recipe"], case["rgb_sha256"])
    assert list(rgb.shape) == case["rgb_shape"]
    assert recipe_image(case["recipe"]).mode == case["pil_mode"]


def test_hash_pixels_follow_their_formula():
    def scalar(i, seed):
        u = (i * 2654435761 + seed) % 2**32
        u ^= u >> 15
        u = u * 2246822519 % 2**32
        u ^= u >> 13
        return np.float32((u >> 8) / 2**24 * 4 - 2)

    pixels = hash_pixels(2, 101)
    assert pixels.shape == (2, 576, 588)
    assert pixels.dtype == np.float32
    for i in (0, 1, 587, 588, 99_999, pixels.size - 1):
        assert pixels.flat[i] == scalar(i, 101)
    assert hashlib.sha256(hash_pixels(1, 7)).digest() != hashlib.sha256(hash_pixels(1, 8)).digest()
