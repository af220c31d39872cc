"""What `molmo doctor` finds, one line each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    advice: what to do about it; empty when nothing is to be done
    fails:  something that was asked for cannot work
    """

    topic: str
    found: str
    advice: str = ""
    fails: bool = False
