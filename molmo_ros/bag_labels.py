"""Reads labels of the images in a bag, and finds the image that each belongs to.

Does not know what may stand in a line beside the image's number or stamp (see docs/finetune.md).
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STAMP_SLOP_NS = 1_000_000  # between a label's stamp, maybe rounded, and its image's

Row = dict[str, Any]


class LabelError(ValueError):
    """Labels that do not belong to their bag, or a folder that cannot take its pictures."""


@dataclass(frozen=True)
class Frame:
    """One image of a bag: the so many-th of its topic, from 0; its stamp."""

    number: int
    stamp_ns: int

    @property
    def stamp(self) -> str:
        """In seconds; text, as JSON's numbers are read with 16 digits."""
        return f"{self.stamp_ns // 10**9}.{self.stamp_ns % 10**9:09d}"


def read_labels(file: Path) -> Iterator[tuple[str, Row]]:
    """The rows of a file of labels, each with its place for what is said about it."""
    empty = True
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise LabelError(f"{file}: is no text in UTF-8: {error}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where, empty = f"{file}, line {number}", False
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise LabelError(f"{where}: is no JSON: {error}") from error
        if not isinstance(row, dict) or not ("frame" in row or "stamp" in row):
            raise LabelError(
                f'{where}: wanted an object with "frame", the number of an image, or "stamp", its '
                f"seconds; got {line.strip()[:80]}"
            )
        yield where, row
    if empty:
        raise LabelError(f"{file}: is empty")


class Finder:
    """Finds the image that a label names."""

    def __init__(self, bag: Path, topic: str, frames: Sequence[Frame]) -> None:
        self._what, self._frames = f"{topic} of {bag}", frames
        self._ordered = sorted(frames, key=lambda frame: frame.stamp_ns)
        self._by = {"frame": self._by_number, "stamp": self._by_stamp}

    def __call__(self, where: str, row: Row) -> Frame:
        """The image of a row; raises LabelError where there is none, or two."""
        named = [find(where, row[key]) for key, find in self._by.items() if key in row]
        if named[0] != named[-1]:
            raise LabelError(
                f"{where}: frame {row['frame']} of {self._what} has the stamp {named[0].stamp}, "
                f"not {row['stamp']}: of which image is the label?"
            )
        return named[0]

    def _by_number(self, where: str, number: Any) -> Frame:
        if type(number) is not int or not 0 <= number < len(self._frames):
            raise LabelError(
                f"{where}: there is no frame {number!r}: {self._what} has the numbers 0 to "
                f"{len(self._frames) - 1}"
            )
        return self._frames[number]

    def _by_stamp(self, where: str, stamp: Any) -> Frame:
        try:
            stamp_ns = _nanoseconds(stamp)
        except ValueError:
            raise LabelError(f"{where}: stamp is in seconds, got {stamp!r}") from None
        after = bisect_left(self._ordered, stamp_ns, key=lambda frame: frame.stamp_ns)
        around = self._ordered[max(after - 1, 0) : after + 1]
        nearest = min(around, key=lambda frame: abs(frame.stamp_ns - stamp_ns))
        away_ns = abs(nearest.stamp_ns - stamp_ns)
        if away_ns > STAMP_SLOP_NS:
            raise LabelError(
                f"{where}: no image of {self._what} has the stamp {stamp}; the nearest has "
                f"{nearest.stamp}, {1e-9 * away_ns:.3f} s away"
            )
        return nearest


def _nanoseconds(stamp: Any) -> int:
    """Of seconds as a number, or as a text with all nine digits."""
    if isinstance(stamp, bool) or not isinstance(stamp, int | float | str):
        raise ValueError
    whole, _, part = str(stamp).partition(".")
    if whole.isdigit() and (part.isdigit() or not part):
        return int(whole) * 10**9 + int(part[:9].ljust(9, "0") or 0)
    return round(float(stamp) * 1e9)
