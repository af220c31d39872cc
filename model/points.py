"""Reads and writes points the way Molmo's text spells them.

`<point x="12.3" y="45.6" alt="mug">mug</point>`, or `<points x1=… y1=… x2=… y2=… alt="mug">`:
percent of the picture, x to the right, y down. Nothing is escaped in a label, so this is no XML.
Knows nothing of pixels, tokens or pictures. Reading never raises and takes linear time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

NOTHING = "There are none."
_NONE = ("there are none", "this isn't in the image")  # what the training texts say of no thing


@dataclass(frozen=True)
class Point:
    """A place in the picture, in percent of its width and height."""

    x: float
    y: float
    label: str = ""


@dataclass(frozen=True)
class StreamedPoint:
    """A point and where its numbers stand in the text, as (start, end) characters.

    Its label is empty: it is written after the coordinates.
    """

    point: Point
    x_span: tuple[int, int]
    y_span: tuple[int, int]


def parse_points(text: str) -> list[Point]:
    """All points of an answer in the order of the text; those outside the picture are dropped."""
    stream = PointStream()
    found = stream.feed(text) + stream.finish()
    return [
        replace(one.point, label=label)
        for one, label in zip(found, _labels(text, [one.y_span[1] for one in found]), strict=True)
    ]


def format_points(points: Iterable[Point], label: str, words: str = "") -> str:
    """The training text of points that share a label: rounded to 0.1, sorted by x, then y.

    words: those of a sentence that the tag encloses; they and the label then keep their capitals.
        Without, the tag encloses its label, in lower case.
    """
    pairs = sorted((_rounded(point.x), _rounded(point.y)) for point in points)
    if not pairs:
        return NOTHING
    label, words = (label, words) if words else (label.lower(), label.lower())
    if len(pairs) == 1:
        (x, y), tag = pairs[0], "point"
        numbers = f'x="{x:.1f}" y="{y:.1f}"'
    else:
        tag = "points"
        numbers = " ".join(f'x{i}="{x:.1f}" y{i}="{y:.1f}"' for i, (x, y) in enumerate(pairs, 1))
    return f'<{tag} {numbers} alt="{label}">{words}</{tag}>'


def format_count(points: Sequence[Point], label: str) -> str:
    """The training text of a counting answer, which points at what it counts."""
    if not points:
        return NOTHING
    return f"Counting the {format_points(points, label)} shows a total of {len(points)}."


def read_count(text: str) -> int | None:
    """What a counting answer counted: the number it states, else how many points it has.

    None where it says neither: words without a number.
    """
    plain = text.strip().rstrip(".").lower()
    if plain in _NONE:
        return 0
    stated = re.search(r"total of (\d{1,6})\b", plain) or re.fullmatch(r"(\d{1,6})", plain)
    if stated:
        return int(stated[1])
    return len(parse_points(text)) or None


def _rounded(percent: float) -> float:
    """To one decimal, halves to even: what the published training text was made with."""
    return round(percent * 10) / 10


# The grammar of a coordinate pair as an automaton: state -> character -> next state; "0" is any
# digit, " " any white space. Only an x begins a pair and no other x stands in one, so a mismatch
# never has to look back. The published parser has the same language as a regular expression.
_IDLE, _X, _X_WHOLE, _X_CLOSED, _Y_WHOLE, _CLOSED = 0, 1, 4, 7, 12, 15
_NEXT: tuple[dict[str, int], ...] = (
    {"x": _X},
    {"0": _X, "=": 2},  # x, x1, x23
    {'"': 3},  # x1=
    {" ": 3, "0": _X_WHOLE},  # x1="
    {"0": _X_WHOLE, ".": 5, '"': _X_CLOSED},  # x1="12
    {"0": 6},  # x1="12.
    {"0": 6, '"': _X_CLOSED},  # x1="12.3
    {" ": 8},  # x1="12.3"
    {" ": 8, "y": 9},
    {"0": 9, "=": 10},  # y, y1; its index is not compared with that of x
    {'"': 11},
    {" ": 11, "0": _Y_WHOLE},
    {"0": _Y_WHOLE, ".": 13, '"': _CLOSED},
    {"0": 14},
    {"0": 14, '"': _CLOSED},
    {"x": _X},
)
# Notations of other experiments: "(12.3, 45.6)", with or without "Click", and "p=123,456".
_OTHER = re.compile(r"\(([0-9]+\.[0-9]),? ?([0-9]+\.[0-9])\)|[0-9p]=([0-9]{3}),([0-9]{3})")


class PointStream:
    """Finds points in a text that arrives in pieces, each the moment its y closes.

    `feed` all pieces, then `finish`: the points are those of `parse_points` on the whole text,
    however it was cut.
    """

    def __init__(self) -> None:
        self._characters: list[str] = []
        self._state = _IDLE
        self._marks: list[int] = []  # where the numbers of the open pair begin and end
        self._found_any = False

    def feed(self, piece: str) -> list[StreamedPoint]:
        """Reads on; returns the points that closed within this piece."""
        found = []
        for character in piece:
            at = len(self._characters)
            self._characters.append(character)
            before, self._state = self._state, _advance(self._state, character)
            if self._state <= _X:
                self._marks.clear()
            elif self._state != before and self._state in (_X_WHOLE, _Y_WHOLE, _X_CLOSED, _CLOSED):
                self._marks.append(at)
            if self._state == _CLOSED:
                found += self._point(*self._marks)
        return found

    def finish(self) -> list[StreamedPoint]:
        """The text is complete: if it has no point in tags, those in other notations."""
        if self._found_any:
            return []
        found = []
        for match in _OTHER.finditer("".join(self._characters)):
            x, y, scale = (1, 2, 1) if match[1] else (3, 4, 10)
            found += _in_picture(
                float(match[x]) / scale, float(match[y]) / scale, match.span(x), match.span(y)
            )
        return found

    def _point(self, x_start: int, x_end: int, y_start: int, y_end: int) -> list[StreamedPoint]:
        self._found_any = True
        x = float("".join(self._characters[x_start:x_end]))
        y = float("".join(self._characters[y_start:y_end]))
        return _in_picture(x, y, (x_start, x_end), (y_start, y_end))


def _advance(state: int, character: str) -> int:
    kind = "0" if character in "123456789" else " " if character.isspace() else character
    return _NEXT[state].get(kind, _X if character == "x" else _IDLE)


def _in_picture(
    x: float, y: float, x_span: tuple[int, int], y_span: tuple[int, int]
) -> list[StreamedPoint]:
    """No point at all when a coordinate is above 100 percent; below 0 none can be written."""
    return [StreamedPoint(Point(x, y), x_span, y_span)] if max(x, y) <= 100 else []


_TAG = re.compile(r"</?points?\b")


def _labels(text: str, ends: list[int]) -> list[str]:
    """For each point, by the end of its y (ascending): the label of the tag it stands in."""
    labels: list[str] = []
    limit, label = -1, ""
    for end in ends:
        if end >= limit:  # the first point of its tag
            tag = _TAG.search(text, end)
            limit = tag.start() if tag else len(text)
            label = _label(text[end:limit], closed=tag is not None and tag[0].startswith("</"))
        labels.append(label)
    return labels


def _label(rest: str, closed: bool) -> str:
    """The alt attribute in the rest of a tag, else the text inside; empty when it is cut off."""
    _, alt, label = rest.partition('alt="')
    if alt:
        label, ended, _ = label.partition('">')
        return label if ended else ""
    return rest.partition(">")[2] if closed else ""
