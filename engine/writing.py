"""The answer as it is being written: tokens in, text and points out the moment they close.

Knows how sure the model was of each token, and so of each point. Knows no engine.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import replace

from tokenizers import Tokenizer

from molmo_engine.records import PointFound, Token
from molmo_model.points import Point, PointStream, StreamedPoint, parse_points
from molmo_model.text import TextStream


class TextWriting:
    """One answer about a picture of (width, height) pixels, from pieces of text."""

    def __init__(self, size: tuple[int, int]) -> None:
        self._size = size
        self._points = PointStream()
        self._pieces: list[str] = []
        self._length = 0  # characters written so far
        self._ends: list[int] = []  # of each token, in characters
        self._sure: list[float] = []  # probability of each token
        self._found: list[PointFound] = []

    @property
    def tokens(self) -> int:
        return len(self._ends)

    @property
    def points(self) -> int:
        return len(self._found)

    @property
    def text(self) -> str:
        """The words without the space that every answer starts with."""
        return "".join(self._pieces).removeprefix(" ")

    def write(self, piece: str, probability: float) -> Iterator[Token | PointFound]:
        """The text of one token, and the points that close with it."""
        self._length += len(piece)
        self._ends.append(self._length)
        self._sure.append(probability)
        self._pieces.append(piece)
        yield Token(piece)
        yield from self._locate(self._points.feed(piece))

    def end(self, piece: str = "") -> Iterator[Token | PointFound]:
        """The rest of the text, of no token of its own, and points in other notations."""
        if piece:
            self._pieces.append(piece)
            yield Token(piece)
        yield from self._locate(self._points.feed(piece) + self._points.finish())

    def found(self) -> tuple[PointFound, ...]:
        """All points, now with the labels that follow their coordinates."""
        labelled = parse_points("".join(self._pieces))
        pairs = zip(self._found, labelled, strict=True)
        return tuple(replace(found, point=point) for found, point in pairs)

    def _locate(self, streamed: list[StreamedPoint]) -> Iterator[PointFound]:
        for one in streamed:
            confidence = self._confidence(one.x_span) * self._confidence(one.y_span)
            found = PointFound(one.point, to_pixel(one.point, *self._size), confidence)
            self._found.append(found)
            yield found

    def _confidence(self, span: tuple[int, int]) -> float:
        """The product of the probabilities of the tokens that write these characters."""
        first, last = bisect_right(self._ends, span[0]), bisect_left(self._ends, span[1])
        return math.prod(self._sure[first : last + 1])


class Writing(TextWriting):
    """The same from tokens: a character may take several of them."""

    def __init__(self, tokenizer: Tokenizer, size: tuple[int, int]) -> None:
        super().__init__(size)
        self._characters = TextStream(tokenizer)

    def add(self, token: int, probability: float) -> Iterator[Token | PointFound]:
        """The piece of text that a token completes, and the points that close with it."""
        return self.write(self._characters.feed(token), probability)

    def finish(self) -> Iterator[Token | PointFound]:
        """What only the end of the text shows: half a character, points in other notations."""
        return self.end(self._characters.finish())


def to_pixel(point: Point, width: int, height: int) -> tuple[float, float]:
    """The pixel (u, v) that a point names; 0 is the centre of the first pixel.

    Percent run from edge to edge of the picture: 0 is the left edge of the first pixel, 100 the
    right edge of the last. The result is kept on the pixels' centres, 0...width - 1.
    """
    u, v = point.x / 100 * width - 0.5, point.y / 100 * height - 0.5
    return min(max(u, 0.0), width - 1.0), min(max(v, 0.0), height - 1.0)
