"""Remembers the last pictures the way the decoder read them, for more questions about them.

A picture stands before every question about it, so what the decoder's cache holds of its tokens
serves them all: neither vision nor the picture's part of the prompt runs again. Image features
are not kept: behind their rows of the cache nothing needs them. Knows no engine.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from molmo_engine.runtime import Ints, Saved


@dataclass(frozen=True)
class Seen:
    """A picture that was read.

    tokens: (N,) of the picture, without BOS
    rows:   of the decoder's cache, as the runtime saved them: BOS and picture
    """

    tokens: Ints
    rows: Saved


class Frames:
    """The last pictures, at most so many bytes of them; the one asked about longest ago goes."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._seen: dict[bytes, Seen] = {}  # oldest question first

    @property
    def nbytes(self) -> int:
        return sum(int(seen.rows.nbytes) for seen in self._seen.values())

    def key(self, rgb: npt.NDArray[np.uint8], max_crops: int) -> bytes:
        """What a picture is found by; where none is remembered, no time is spent on it.

        max_crops: how many high-resolution crops it is cut into at most
        """
        return fingerprint(rgb) + max_crops.to_bytes(4, "big") if self._most_bytes else b""

    def find(self, key: bytes) -> Seen | None:
        """The picture of a fingerprint, if it is remembered."""
        seen = self._seen.pop(key, None)
        if seen is not None:
            self._seen[key] = seen
        return seen

    def keep(self, key: bytes, seen: Seen) -> None:
        """Remembers a picture, and forgets others where it needs their room."""
        self._seen.pop(key, None)
        room = self._most_bytes - int(seen.rows.nbytes)
        while self._seen and self.nbytes > room:
            del self._seen[next(iter(self._seen))]
        if room >= 0:
            self._seen[key] = seen

    def clear(self) -> None:
        self._seen.clear()


def fingerprint(rgb: npt.NDArray[np.uint8]) -> bytes:
    """The same for equal pictures and only for them: (H, W, 3) -> 32 bytes."""
    digest = hashlib.sha256(f"{rgb.shape} {rgb.dtype}".encode())
    digest.update(np.ascontiguousarray(rgb).data)
    return digest.digest()
