"""Reads a picture file for a question, and draws the answer's points into it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from molmo_engine.records import PointFound

    Rgb = npt.NDArray[np.uint8]


class PictureError(ValueError):
    """A file that is no picture."""


def read_rgb(path: Path) -> Rgb:
    """(H, W, 3) uint8, turned upright as its EXIF says, transparency dropped as in training."""
    import numpy as np
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    except UnidentifiedImageError:
        raise PictureError(f"{path}: no picture, or of a kind that Pillow cannot read") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise PictureError(f"{path}: cannot be decoded: {error}") from error


def save_annotated(path: Path, rgb: Rgb, found: tuple[PointFound, ...]) -> None:
    """Writes the picture with its points; the ending of the name decides the format."""
    from PIL import Image

    from molmo_ros.views import draw_points

    try:
        Image.fromarray(draw_points(rgb, found)).save(path)
    except ValueError as error:
        raise PictureError(f"{path}: cannot be written: {error}") from error
