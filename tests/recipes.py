"""Where the golden numbers are, and the pictures and pixels that they were computed from.

Pictures are cut from files of scikit-image by recipes that never resample: every machine gets
the same bytes.
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

GOLDEN = Path(__file__).parent / "data" / "golden"
PATCHES, PATCH_VALUES = 576, 588  # of the published geometry: 24 x 24 patches, 14 x 14 x 3 values


def recipe_rgb(recipe: dict[str, Any], sha256: str) -> npt.NDArray[np.uint8]:
    """The picture of a recipe as RGB (H, W, 3); skips when this machine's picture files differ."""
    rgb = np.array(recipe_image(recipe).convert("RGB"))
    if hashlib.sha256(rgb.tobytes()).hexdigest() != sha256:
        pytest.skip(f"scikit-image here has another {recipe['source']} than version 0.26.0")
    return rgb


def recipe_image(recipe: dict[str, Any]) -> Image.Image:
    """Runs a recipe: {"source": file, "ops": [[op, arguments...], ...]}."""
    with Image.open(_pictures() / recipe["source"]) as image:
        pixels = np.array(image)
    for name, *arguments in recipe["ops"]:
        if name == "palette":
            return _palette_image(pixels)
        pixels = _OPS[name](pixels, *arguments)
    return Image.fromarray(np.ascontiguousarray(pixels))


def hash_pixels(crops: int, seed: int) -> npt.NDArray[np.float32]:
    """Pixels without a picture: (crops, 576, 588), in [-2, 2), a hash of position and seed."""
    u = np.arange(crops * PATCHES * PATCH_VALUES, dtype=np.uint32)
    u = u * np.uint32(2654435761) + np.uint32(seed)
    u ^= u >> np.uint32(15)
    u *= np.uint32(2246822519)
    u ^= u >> np.uint32(13)
    pixels = (u >> np.uint32(8)).astype(np.float32) / np.float32(2**24) * 4 - 2
    return pixels.reshape(crops, PATCHES, PATCH_VALUES)


def _pictures() -> Path:
    found = importlib.util.find_spec("skimage")
    if found is None or found.origin is None:
        pytest.skip("needs the pictures of scikit-image: pip install scikit-image")
    return Path(found.origin).parent / "data"


def _palette_image(pixels: npt.NDArray[np.uint8]) -> Image.Image:
    """Two bits per colour, as a picture of Pillow's mode P."""
    r, g, b = (pixels[..., channel] >> 6 for channel in range(3))
    index = (r << 4 | g << 2 | b).astype(np.uint8)
    image = Image.frombytes("P", (index.shape[1], index.shape[0]), index.tobytes())
    levels = [((i >> shift) & 3) * 85 for i in range(64) for shift in (4, 2, 0)]
    image.putpalette(levels + [0] * (768 - len(levels)))
    return image


_OPS = {
    "crop": lambda a, y0, y1, x0, x1: a[y0:y1, x0:x1],
    "stride": lambda a, sy, sx: a[::sy, ::sx],
    "repeat": lambda a, ky, kx: a.repeat(ky, axis=0).repeat(kx, axis=1),
    "tile": lambda a, ny, nx: np.tile(a, (ny, nx) + (1,) * (a.ndim - 2)),
    "transpose": lambda a: a.swapaxes(0, 1),
    "flip": lambda a: a[::-1],
}
