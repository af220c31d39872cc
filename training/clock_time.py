"""The time that a clock shows, as the rows of PixMo-Clocks say it, and where its hands stand.

-1 stands for a part that is not shown. Knows no style and draws nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from molmo_model.pictures import PictureError

WITH_PERIOD = "With AM/PM"
HIDDEN = -1


@dataclass(frozen=True, kw_only=True)
class ClockTime:
    """What is shown; None is not.

    hour:       0 to 23, or 0 to 11 where nothing tells morning from afternoon
    has_period: something tells it: a word, or digits that count to 24
    """

    hour: int | None
    minute: int | None
    second: int | None = None
    has_period: bool = False
    date: date | None = None

    @property
    def period(self) -> str:
        """AM, PM, or nothing."""
        if self.hour is None or not self.has_period:
            return ""
        return "PM" if self.hour >= 12 else "AM"

    @property
    def hour_angle_deg(self) -> float | None:
        """Clockwise from twelve, as all of them; hands move on between their marks."""
        if self.hour is None:
            return None
        return 30.0 * (self.hour % 12) + 0.5 * self._minutes

    @property
    def minute_angle_deg(self) -> float | None:
        return None if self.minute is None else 6.0 * self._minutes

    @property
    def second_angle_deg(self) -> float | None:
        return None if self.second is None else 6.0 * self.second

    @property
    def _minutes(self) -> float:
        return (self.minute or 0) + (self.second or 0) / 60


def read_time(metadata: Mapping[str, Any]) -> ClockTime:
    """The time in a row; raises PictureError for one that no clock shows."""
    shows_seconds = bool(metadata["shows_seconds"])
    return ClockTime(
        hour=_part(metadata, "hour_visible", 23),
        minute=_part(metadata, "minute_visible", 59),
        second=_part(metadata, "second_visible", 59) if shows_seconds else None,
        has_period=metadata["time_format"] == WITH_PERIOD,
        date=_date(str(metadata["watch_time"])),
    )


def _part(metadata: Mapping[str, Any], name: str, most: int) -> int | None:
    value = metadata[name]
    if not HIDDEN <= value <= most:
        raise PictureError(
            f"a clock cannot show {name} = {value}: wants 0 to {most}, or -1 where it is not shown"
        )
    return None if value == HIDDEN else int(value)


def _date(watch_time: str) -> date | None:
    """Of 003_2020-06-28T08:15:30, where it says one."""
    found = re.search(r"(\d{4})-(\d{2})-(\d{2})T", watch_time)
    try:
        return date(*map(int, found.groups())) if found else None
    except ValueError:
        return None
