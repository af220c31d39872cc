"""Small copies of published data, and pictures for them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def png(value: int = 0, size: tuple[int, int] = (40, 30)) -> bytes:
    """A picture of one grey, as a file's bytes."""
    buffer = io.BytesIO()
    Image.fromarray(np.full((size[1], size[0], 3), value, np.uint8)).save(buffer, "png")
    return buffer.getvalue()


def write_parquet(path: Path, rows: list[dict[str, Any]], pictures: tuple[str, ...] = ()) -> Path:
    """Rows as the hub keeps them; the columns named as pictures hold a file's bytes."""
    import datasets

    path.parent.mkdir(parents=True, exist_ok=True)
    table = datasets.Dataset.from_list(
        [{key: {"bytes": v} if key in pictures else v for key, v in row.items()} for row in rows]
    )
    for name in pictures:
        table = table.cast_column(name, datasets.Image(decode=False))
        table = table.cast_column(name, datasets.Image())
    table.to_parquet(str(path))
    return path


def write_picture(path: Path, value: int = 0) -> None:
    """A picture file where a benchmark keeps its pictures."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.open(io.BytesIO(png(value))).save(path)
