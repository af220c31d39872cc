"""The wait that a server asks for, in every form of the header and in none."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest

from molmo_model.retry_after import retry_after_s


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("30", 30),
        (" 7 ", 7),
        (None, 0),
        ("", 0),
        ("soon", 0),
        ("\xb2", 0),
        ("-5", 0),
        ("Mon, 99 Foo 2026", 0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0),
        ("Sun, 06 Nov 2094 08:49:37 -0000", 0),
    ],
)
def test_the_seconds_of_a_header(header, wanted):
    assert retry_after_s(header) == wanted


def test_a_date_is_so_far_away():
    then = datetime.now(timezone.utc) + timedelta(seconds=100)
    assert 90 < retry_after_s(format_datetime(then, usegmt=True)) <= 100
