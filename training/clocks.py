"""Draws the clocks of PixMo-Clocks, which publishes what a clock shows and no picture.

A watch face looks the same in all its pictures, as its id draws its style; where it is seen from,
and before what, is drawn by the id of the example. The faces are ours, not those of the published
set: analogue and digital, by day and by night. Knows neither questions nor answers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from molmo_model.pictures import Rgb
from molmo_training.clock_canvas import Canvas
from molmo_training.clock_digits import draw_display
from molmo_training.clock_faces import draw_face
from molmo_training.clock_style import Style, sample_style
from molmo_training.clock_time import ClockTime, read_time
from molmo_training.clock_views import OVERSAMPLING, View, photograph, sample_view
from molmo_training.prompts import Rng


def draw_clock(metadata: Mapping[str, Any]) -> Rgb:
    """The picture of a row, (P, P, 3), the same each time.

    metadata: the columns of allenai/pixmo-clocks; raises PictureError for a time that is none
    """
    time = read_time(metadata)
    style = sample_style(_rng(metadata["watchface_id"]), likes_digits=time.has_period)
    is_marked = bool(style.digital) or style.numerals != "none"
    return draw(time, style, sample_view(_rng(metadata["example_id"]), is_marked=is_marked))


def draw(time: ClockTime, style: Style, view: View) -> Rgb:
    """A clock of a style, seen in some way: (P, P, 3)."""
    canvas = Canvas(OVERSAMPLING * view.side_px, style.case)
    if style.digital:
        draw_display(canvas, time, style)
    else:
        draw_face(canvas, time, style)
    return photograph(canvas, view)


def _rng(name: str) -> Rng:
    """A generator that depends on a name alone."""
    return Rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little"))
