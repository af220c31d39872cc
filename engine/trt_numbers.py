"""Reads safetensors files as arrays that stay on the disk, and converts what numpy cannot hold.

bfloat16 is uint16 here: the upper half of a float32. Knows no names of tensors.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from molmo_engine.bundle import BundleError

Array = npt.NDArray[Any]

# By their names in safetensors; a byte of U8 holds two INT4.
TYPES: dict[str, npt.DTypeLike] = {
    "F32": np.float32,
    "F16": np.float16,
    "BF16": np.uint16,
    "I8": np.int8,
    "U8": np.uint8,
}


def open_tensors(path: Path) -> dict[str, Array]:
    """The tensors of a file, mapped: they are read when they are touched."""
    content = np.memmap(path, np.uint8, mode="r")
    (length,) = struct.unpack("<Q", content[:8].tobytes())
    header = json.loads(content[8 : 8 + length].tobytes())
    body = content[8 + length :]
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in TYPES:
            raise BundleError(f"{path}: {name} is of type {entry['dtype']}, which none of ours is")
        begin, end = entry["data_offsets"]
        tensors[name] = body[begin:end].view(TYPES[entry["dtype"]]).reshape(entry["shape"])
    return tensors


def numpy_type(name: str) -> np.dtype[Any]:
    """What holds a graph's "float16" on this side: "bfloat16" is uint16."""
    return np.dtype(np.uint16 if name == "bfloat16" else name)


def narrowed(array: npt.NDArray[np.float32], dtype: np.dtype[Any]) -> Array:
    """float32 to the nearest of a graph's type, as `numpy_type` names it."""
    if dtype != np.uint16:
        return array.astype(dtype, copy=False)
    bits = array.view(np.uint32)
    even = bits >> np.uint32(16) & np.uint32(1)  # ties go to the even neighbour
    upper: Array = (bits + np.uint32(0x7FFF) + even >> np.uint32(16)).astype(np.uint16)
    return upper


def widened(array: Array) -> npt.NDArray[np.float32]:
    """A graph's type to float32."""
    if array.dtype != np.uint16:
        return array.astype(np.float32, copy=False)
    bits = array.astype(np.uint32) << np.uint32(16)
    wide: npt.NDArray[np.float32] = bits.view(np.float32)
    return wide
