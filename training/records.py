"""One picture and what is asked and answered about it: the form that all data sets are read into.

Points stay numbers and answers stay a choice until prompts.py writes them as text. Knows no data
set (see sources/), no tokens, and not where pictures of the web are kept (see PictureStore).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from molmo_model.pictures import PictureError, Rgb, open_picture

PLACEHOLDER = "<|POINT|>"  # in an answer: here stand the next marks
Pair = tuple[float, float]


class PictureStore(Protocol):
    """Where the bytes of pictures of the web are kept."""

    def read(self, url: str, sha256: str = "") -> bytes:
        """The file behind a URL, checked against its hash if one is given.

        raises: PictureError for a dead link and for a file that is another.
        """
        ...


@dataclass(frozen=True)
class Remote:
    """A picture of the web, and the SHA-256 of its file where the data set has it."""

    url: str
    sha256: str = ""


@dataclass(frozen=True)
class Picture:
    """A picture that is not decoded yet: a file's bytes, its path, its URL, or who draws it."""

    source: bytes | Path | Remote | Callable[[], Rgb]

    def load(self, store: PictureStore | None = None) -> Rgb:
        """The pixels, (H, W, 3) uint8; raises PictureError when they cannot be had."""
        if isinstance(self.source, Remote):
            if store is None:
                raise PictureError(
                    f"{self.source.url}: of the web, and no picture store was given"
                )
            data = store.read(self.source.url, self.source.sha256)
            return open_picture(data, keep_truncated=True)
        if callable(self.source):
            return self.source()
        return open_picture(self.source)


@dataclass(frozen=True, kw_only=True)
class Marks:
    """Points that one tag shows.

    points: (x, y), percent of the picture, or pixels with in_pixels
    text:   the words that the tag encloses in a sentence; without, it encloses its label
    """

    points: tuple[Pair, ...]
    label: str
    text: str = ""
    in_pixels: bool = False


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One question and its answer.

    question: empty where the style's templates ask, for the label if there is one
    options:  of a multiple choice
    answers:  references, of which one of the most frequent is drawn; may hold PLACEHOLDERs
    marks:    the points of the answer: one per PLACEHOLDER, or the whole answer
    """

    question: str = ""
    label: str = ""
    options: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    marks: tuple[Marks, ...] = ()


@dataclass(frozen=True)
class Annotation:
    """A conversation about the picture; weight scales its part in the loss."""

    style: str
    turns: tuple[Turn, ...]
    weight: float = 1.0


@dataclass(frozen=True)
class Record:
    """A picture with all its annotations, which never see each other."""

    picture: Picture
    annotations: tuple[Annotation, ...]
