"""Pictures of one grey, as files."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image


def png(value: int = 0, height: int = 6, width: int = 8) -> bytes:
    """The file of a picture of one grey."""
    file = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), value, np.uint8)).save(file, "PNG")
    return file.getvalue()


def save_png(path: Path, value: int = 0, height: int = 6, width: int = 8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(value, height, width))
