"""What the columns of published tables hold, checked value by value as they are read.

Knows no data set: a schema is a dict of these columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from molmo_training.records import Picture

Row = dict[str, Any]


class SchemaError(ValueError):
    """A table that is not what its data set publishes."""


@dataclass(frozen=True)
class Column:
    """What a value must be, in words, and the function that reads it or raises ValueError."""

    wants: str
    read: Callable[[Any], Any]
    is_optional: bool = False  # the column may be missing; its values are then None


def check_columns(columns: Mapping[str, Column], found: Iterable[str], where: str) -> None:
    """Raises SchemaError when a table lacks a column."""
    found = list(found)
    missing = [name for name, c in columns.items() if name not in found and not c.is_optional]
    if missing:
        wanted = ", ".join(f"{name!r} ({columns[name].wants})" for name in missing)
        raise SchemaError(
            f"{where}: lacks column {wanted}; it has {', '.join(found) or 'none'}. "
            "Is this the right data set, in the right split?"
        )


def read_row(columns: Mapping[str, Column], row: Mapping[str, Any], where: str) -> Row:
    """The columns of a row as Python values; where: names the table and the row."""
    read: Row = {}
    for name, column in columns.items():
        value = row.get(name)
        if value is None and column.is_optional:
            read[name] = None
            continue
        try:
            read[name] = column.read(value)
        except (ValueError, TypeError, KeyError):
            raise SchemaError(
                f"{where}, column {name!r}: wants {column.wants}, got {_shown(value)}. "
                "Repair the row or leave it out."
            ) from None
    return read


def optional(column: Column) -> Column:
    """The same column, which a table or a row may lack."""
    return Column(column.wants, column.read, is_optional=True)


def structs(value: Any) -> list[Mapping[str, Any]]:
    """A list of structs, which tables also write as a struct of lists."""
    if isinstance(value, Mapping):
        names = list(value)
        return [dict(zip(names, one, strict=True)) for one in zip(*value.values(), strict=True)]
    if not isinstance(value, list) or not all(isinstance(one, Mapping) for one in value):
        raise ValueError
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError
    return value


def _any_text(value: Any) -> str:
    if value is not None and not isinstance(value, str):
        raise ValueError
    return value or ""


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise ValueError
    return tuple(_text(one) for one in value)


def _labels(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError
    return tuple(_any_text(one) for one in value)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError
    return float(value)


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError
    return value


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _points(value: Any) -> tuple[tuple[float, float], ...]:
    return tuple((_number(one["x"]), _number(one["y"])) for one in structs(value))


def _point_lists(value: Any) -> tuple[tuple[tuple[float, float], ...], ...]:
    if not isinstance(value, list):
        raise ValueError
    return tuple(_points(one) for one in value)


def _questions(value: Any) -> tuple[tuple[str, str], ...]:
    pairs = tuple((_text(one["question"]), _text(one["answer"])) for one in structs(value))
    if not pairs:
        raise ValueError
    return pairs


def _answers(value: Any) -> tuple[str, ...]:
    return tuple(_text(one["answer"]) for one in structs(value))


def _boxes(value: Any) -> tuple[tuple[str, tuple[float, ...]], ...]:
    boxes = tuple((_text(name), tuple(map(_number, box))) for name, box in value)
    if any(len(box) != 4 for _, box in boxes):
        raise ValueError
    return boxes


def _picture(value: Any) -> Picture:
    if not isinstance(value, Mapping):
        raise ValueError
    if value.get("bytes"):
        return Picture(bytes(value["bytes"]))
    return Picture(Path(_text(value["path"])))


def _path(value: Any) -> Picture:
    return Picture(Path(_text(value)))


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."


TEXT = Column("some text", _text)
ANY_TEXT = Column("a text, maybe empty", _any_text)
TEXTS = Column("a list of texts", _texts)
LABELS = Column("a list of texts, maybe empty", _labels)
INTEGER = Column("a whole number", _integer)
BOOLEAN = Column("true or false", _boolean)
POINTS = Column("a list of {x, y}, both finite numbers", _points)
POINT_LISTS = Column("a list of lists of {x, y}, both finite numbers", _point_lists)
QUESTIONS = Column("a list of {question, answer}, both texts", _questions)
ANSWERS = Column("a list of {answer}, a text", _answers)
PICTURE = Column("a picture, its bytes or its path", _picture)
PATH = Column("the path of a picture", _path)
LETTERS = Column("a list of letters and their boxes of four numbers", _boxes)
