"""Draws the answer's points into the picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from molmo_engine.records import PointFound
    from molmo_model.pictures import Rgb


def save_annotated(path: Path, rgb: Rgb, found: tuple[PointFound, ...]) -> None:
    """Writes the picture with its points; the ending of the name decides the format."""
    from PIL import Image

    from molmo_model.pictures import PictureError
    from molmo_ros.views import draw_points

    try:
        Image.fromarray(draw_points(rgb, found)).save(path)
    except ValueError as error:
        raise PictureError(f"{path}: cannot be written: {error}") from error
