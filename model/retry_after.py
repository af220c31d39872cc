"""How long a server wants to be left alone: one that answers questions, or one with pictures."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime


def retry_after_s(header: str | None) -> float:
    """Seconds from the value of Retry-After (RFC 9110, 10.2.3): a number or a date; 0 without."""
    value = (header or "").strip()
    if value.isdecimal():
        return float(value)
    with suppress(ValueError, TypeError):  # no date, or one without a time zone
        then = parsedate_to_datetime(value)
        return max(0.0, (then - datetime.now(timezone.utc)).total_seconds())
    return 0.0
