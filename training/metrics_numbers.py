"""Reads how many an answer counted, and what time it read off a clock.

Text in, whole numbers out. Knows nothing of pictures and models; never raises on any text.
"""

from __future__ import annotations

import re
from collections.abc import Callable

# fmt: off
_UNITS = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen",
]
# fmt: on
_TENS = {"twenty": 20, "thirty": 30, "forty": 40, "fifty": 50}
_WORDS = (
    {word: value for value, word in enumerate(_UNITS)}
    | _TENS
    | {
        f"{ten} {unit}": value + ones
        for ten, value in _TENS.items()
        for ones, unit in enumerate(_UNITS[1:10], 1)
    }
)
_MOST_IN_WORDS = 20  # counts beyond are read as digits only, as published
_NONE = {"there are none", "this isn't in the image"}
_LONGEST_COUNT = 9  # digits; more is no count of anything in a picture

HALF_DAY_MIN = 12 * 60  # a dial does not tell morning from evening


def stated_count(text: str) -> int | None:
    """The number that a counting answer ends with; None if it states none.

    The last word as digits or as a word up to twenty, else what follows "a total of". That
    nothing is there is a count of 0.
    """
    said = text.strip().lower().removesuffix(".")
    if said in _NONE:
        return 0
    last = said.split()[-1] if said.split() else ""
    if re.fullmatch(rf"[0-9]{{1,{_LONGEST_COUNT}}}", last):
        return int(last)
    if last in _WORDS and _WORDS[last] <= _MOST_IN_WORDS:
        return _WORDS[last]
    total = re.search(rf"a total of ([0-9]{{1,{_LONGEST_COUNT}}})(?![0-9])", said)
    return int(total[1]) if total else None


def count_scores(text: str, count: int) -> dict[str, float]:
    """correct: the stated number is the count; close: it is at most one off."""
    said = stated_count(text)
    off = None if said is None else abs(said - count)
    return {"correct": float(off == 0), "close": float(off is not None and off <= 1)}


def clock_scores(text: str, time_min: int, tolerance_min: int = 1) -> dict[str, float]:
    """Compares the time in an answer with that on a dial, in minutes past twelve.

    correct: the whole time is at most the tolerance off, over the hour too (12:59 and 1:00);
    hour, minute: the hour is right, and where the minute hand stands.
    """
    said = read_time(text)
    if said is None:
        return {"correct": 0.0, "hour": 0.0, "minute": 0.0}
    return {
        "correct": float(_apart(said, time_min, HALF_DAY_MIN) <= tolerance_min),
        "hour": float(said // 60 == time_min % HALF_DAY_MIN // 60),
        "minute": float(_apart(said, time_min, 60) <= tolerance_min),
    }


def read_time(text: str) -> int | None:
    """The first time in a text as minutes past twelve, 0...719; None if there is none.

    Reads 3:45, 15:45:10, 3.45, 5 o'clock, 7 pm, noon, "quarter to nine", "ten past three",
    "half past four" and "eleven thirty".
    """
    said = " ".join(text.lower().replace("-", " ").replace("’", "'").split())
    for pattern, minutes in _TIMES:
        for match in pattern.finditer(said):
            time_min = minutes(match)
            if time_min is not None:
                return time_min % HALF_DAY_MIN
    return None


def _apart(a: int, b: int, around: int) -> int:
    """How far apart two places on a circle are."""
    off = abs(a - b) % around
    return min(off, around - off)


def _value(word: str) -> int:
    return {"half": 30, "quarter": 15}.get(word) or (int(word) if word.isdigit() else _WORDS[word])


def _time(hour: str, minute: str = "0") -> int | None:
    """An hour up to 24 and a minute below 60, as minutes; None for anything else."""
    hours, minutes = _value(hour), _value(minute)
    return hours * 60 + minutes if hours <= 24 and minutes < 60 else None


def _before_or_after(match: re.Match[str]) -> int | None:
    time_min, minutes = _time(match[3]), _value(match[1])
    if time_min is None:
        return None
    return time_min + (minutes if match[2] in ("past", "after") else -minutes)


_SPELLED = "|".join(sorted(_WORDS, key=len, reverse=True))
_ANY = rf"(?<![a-z0-9.:])([0-9]{{1,2}}|{_SPELLED})"
_TIMES: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], int | None]], ...] = (
    (
        re.compile(r"(?<![0-9.:])([0-9]{1,2})[:.h]([0-9]{2})(?![0-9])"),
        lambda match: _time(match[1], match[2]),
    ),
    (
        re.compile(
            rf"(?<![a-z0-9])(half|quarter|[0-9]{{1,2}}|{_SPELLED})(?: minutes?)? "
            rf"(past|after|to|before|till) ([0-9]{{1,2}}|{_SPELLED})(?![a-z0-9])"
        ),
        _before_or_after,
    ),
    (re.compile(rf"{_ANY} ?(?:o'clock|a\.?m|p\.?m)(?![a-z])"), lambda match: _time(match[1])),
    (
        re.compile(rf"(?<![a-z])({'|'.join(_UNITS[1:13])}) ({_SPELLED})(?![a-z0-9])"),
        lambda match: _time(match[1], match[2]),
    ),
    (re.compile(r"(?<![a-z])(?:noon|midnight)(?![a-z])"), lambda match: 0),
)
