"""Weights on their way from a checkpoint to the files of a bundle, one tensor at a time.

A `Source` knows the shape of a tensor and makes it when it is written, not before: an export
holds one tensor in memory, whatever the size of the model. Knows no graph and no layer.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Spans = dict[str, tuple[int, int]]  # offset and length in bytes of each tensor of a file

AT_ONCE = 1 << 26  # bytes of a tensor that are converted and written together
# As safetensors calls them.
NAMES = {
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int8": "I8",
    "uint8": "U8",
}


class ExportError(ValueError):
    """A checkpoint or a target that cannot become a bundle as asked."""


@dataclass(frozen=True)
class Source:
    """A tensor that is made when it is needed.

    parts: what it consists of, one behind the other along its first axis; empty = itself
    """

    shape: tuple[int, ...]
    make: Callable[[], Array]
    parts: tuple[Source, ...] = ()

    @classmethod
    def of(cls, array: Array) -> Source:
        return cls(array.shape, lambda: array)

    @property
    def T(self) -> Source:  # noqa: N802 - as numpy calls it
        """The last two axes exchanged."""
        *rest, rows, columns = self.shape
        return Source((*rest, columns, rows), lambda: self.make().swapaxes(-1, -2))


def joined(parts: Sequence[Source]) -> Source:
    """Tensors one behind the other along their first axis."""
    rows = sum(part.shape[0] for part in parts)
    return Source(
        (rows, *parts[0].shape[1:]),
        lambda: np.concatenate([part.make() for part in parts]),
        tuple(parts),
    )


def stacked(parts: Sequence[Source]) -> Source:
    """Tensors of one shape along a new first axis."""
    return Source((len(parts), *parts[0].shape), lambda: np.stack([part.make() for part in parts]))


class WeightFile:
    """Collects the weights of several graphs under one name each, then writes them once.

    dtype: of every weight that is not added with one of its own
    """

    def __init__(self, dtype: npt.DTypeLike) -> None:
        self.dtype = np.dtype(dtype)
        self._sources: dict[str, tuple[Source, np.dtype[Any]]] = {}

    def add(self, name: str, source: Source, dtype: npt.DTypeLike | None = None) -> None:
        """Keeps `source` under `name`; the same name again means the same tensor."""
        if name in self._sources:
            known = self._sources[name][0].shape
            assert known == source.shape, (name, known, source.shape)
            return
        self._sources[name] = source, self.dtype if dtype is None else np.dtype(dtype)

    def write(self, path: Path) -> Spans:
        """Writes a safetensors file and tells where each tensor lies in it.

        Raises ExportError for a weight that is no number in its type.
        """
        # Wide types first: every tensor is aligned to its own size.
        order = sorted(self._sources.items(), key=lambda item: -item[1][1].itemsize)
        header, ends = {}, [0]
        for name, (source, dtype) in order:
            size = int(np.prod(source.shape, dtype=np.int64)) * dtype.itemsize
            header[name] = {
                "dtype": NAMES[dtype.name],
                "shape": list(source.shape),
                "data_offsets": [ends[-1], ends[-1] + size],
            }
            ends.append(ends[-1] + size)
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        with path.open("wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for name, (source, dtype) in order:
                for part in source.parts or (source,):
                    _append(file, name, part, dtype)
        start = 8 + len(text)
        return {
            name: (start + begin, end - begin)
            for (name, _), begin, end in zip(order, ends, ends[1:], strict=False)
        }


def _append(file: BinaryIO, name: str, source: Source, dtype: np.dtype[Any]) -> None:
    """Writes a tensor in its stored type and row-major; refuses what does not fit the type."""
    array = source.make()
    assert array.shape == source.shape, (name, array.shape, source.shape)
    rows = max(1, AT_ONCE // array[0].nbytes)
    for first in range(0, len(array), rows):
        with np.errstate(over="ignore"):
            stored = np.ascontiguousarray(array[first : first + rows], dtype)
        if not np.isfinite(stored).all():
            raise ExportError(f"{name}: values do not fit {dtype}; export with bf16 or fp32")
        stored.tofile(file)
