"""Clocks show the time that their row says: read off the picture, by a reader of its own."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from molmo_model.pictures import PictureError
from molmo_training import clock_style
from molmo_training.clock_canvas import FONTS, RADIUS
from molmo_training.clock_digits import digits_of, segments
from molmo_training.clock_faces import HOUR_HAND, MINUTE_HAND
from molmo_training.clock_style import PLAIN, luminance, sample_style
from molmo_training.clock_time import ClockTime, read_time
from molmo_training.clock_views import BACKGROUNDS, View, homography, sample_view
from molmo_training.clocks import draw, draw_clock
from molmo_training.prompts import Rng

PLAIN_VIEW = View()
ROW = {
    "example_id": "a/003_2020-06-28T08:15:30",
    "watchface_id": "a",
    "watch_time": "003_2020-06-28T08:15:30",
    "time_format": "Without AM/PM",
    "shows_seconds": True,
    "hour_visible": 8,
    "minute_visible": 15,
    "second_visible": 30,
    "text": "8:15:30",
}
STEPS = 1440  # directions in which a hand is looked for: four to a degree


def seen(rgb, radius: float, colour) -> np.ndarray:
    """(STEPS,) how much of a colour lies in each direction, at a radius of the face."""
    angles = np.deg2rad(np.arange(STEPS) * 360 / STEPS)
    middle, radius_px = rgb.shape[0] / 2 - 0.5, radius * RADIUS * rgb.shape[0]
    x = (middle + radius_px * np.sin(angles)).astype(np.float32)[None]
    y = (middle - radius_px * np.cos(angles)).astype(np.float32)[None]
    ring = cv2.remap(rgb, x, y, cv2.INTER_LINEAR)[0].astype(float)
    return np.clip(1 - np.abs(ring - colour).max(axis=1) / 128, 0, 1)


def direction(weights: np.ndarray) -> float:
    """Degrees clockwise from twelve: where the weights lie in the mean."""
    angles = np.deg2rad(np.arange(STEPS) * 360 / STEPS)
    mean = (weights * np.exp(1j * angles)).sum()
    return float(np.rad2deg(np.angle(mean)) % 360)


def read_hands(rgb) -> tuple[float, float]:
    """The directions of the black hands: the long one far out, the short one beside it."""
    long = direction(seen(rgb, (HOUR_HAND + MINUTE_HAND) / 2, 0))
    near = seen(rgb, 0.8 * HOUR_HAND, 0)
    far = np.abs((np.arange(STEPS) * 360 / STEPS - long + 180) % 360 - 180)
    beside = np.where(far > 5.5, near, 0)  # half the width of the long hand in there
    return (direction(beside) if beside.sum() > 3 else long), long


def off(a: float, b: float) -> float:
    """Degrees between two directions."""
    return abs((a - b + 180) % 360 - 180)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.integers(0, 11), st.integers(0, 59))
def test_the_time_is_read_off_the_hands(hour, minute):
    rgb = draw(ClockTime(hour=hour, minute=minute), PLAIN, PLAIN_VIEW)
    short, long = read_hands(rgb)
    assert round(long / 6) % 60 == minute
    # Of two hands partly upon each other only one side is seen, so the hour is what fits best.
    fits = min(range(12), key=lambda h: off(short, 30 * h + minute / 2))
    assert fits == hour
    assert off(long, 6 * minute) < 0.5


@pytest.mark.parametrize("second", [0, 7, 30, 59])
def test_the_second_hand_stands_at_its_second_and_the_minute_hand_moves_on(second):
    rgb = draw(ClockTime(hour=4, minute=50, second=second), PLAIN, PLAIN_VIEW)
    assert off(direction(seen(rgb, 0.83, np.array(PLAIN.second))), 6 * second) < 0.7
    without = ClockTime(hour=4, minute=50)
    assert (draw(without, PLAIN, PLAIN_VIEW) != rgb).any()
    assert ClockTime(hour=4, minute=50, second=30).minute_angle_deg == 6 * 50.5
    assert ClockTime(hour=16, minute=50, second=0).hour_angle_deg == 30 * 4 + 25


@pytest.mark.parametrize("hands", clock_style.HANDS)
def test_hands_of_every_kind_point_to_the_same_time(hands):
    rgb = draw(ClockTime(hour=10, minute=10), replace(PLAIN, hands=hands), PLAIN_VIEW)
    tips = [direction(seen(rgb, length - 0.04, 0)) for length in (HOUR_HAND, MINUTE_HAND)]
    assert off(tips[1], 60) < 1.5
    near = direction(np.where(np.arange(STEPS) > STEPS / 2, seen(rgb, HOUR_HAND - 0.04, 0), 0))
    assert off(near, 305) < 1.5


CHOICES = [("shape", one) for one in clock_style.SHAPES]
CHOICES += [("numerals", one) for one in clock_style.NUMERALS]
CHOICES += [("ticks", one) for one in clock_style.TICKS]
CHOICES += [("hands", one) for one in clock_style.HANDS]
CHOICES += [("digital", one) for one in clock_style.DISPLAYS]
CHOICES += [("font", one) for one in FONTS]


@pytest.mark.parametrize(("name", "choice"), CHOICES)
def test_every_choice_of_a_style_makes_a_difference(name, choice):
    time = ClockTime(hour=10, minute=8, second=44, has_period=True, date=date(2020, 6, 28))
    base = replace(PLAIN, numerals="arabic", has_date=True, has_strap=True)
    rgb = draw(time, replace(base, **{name: choice}), PLAIN_VIEW)
    assert (rgb.shape, rgb.dtype) == ((336, 336, 3), np.uint8)
    others = [one for which, one in CHOICES if which == name and one != choice]
    for other in others:
        assert (draw(time, replace(base, **{name: other}), PLAIN_VIEW) != rgb).any(), other


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_a_clock_stands_before_every_background(background):
    colours = ((200, 40, 40), (40, 40, 200))
    view = replace(PLAIN_VIEW, background=background, colours=colours, zoom=0.8)
    rgb = draw(ClockTime(hour=1, minute=2), PLAIN, view)
    plain = draw(ClockTime(hour=1, minute=2), PLAIN, replace(PLAIN_VIEW, zoom=0.8))
    assert np.array_equal(rgb[100:236, 100:236], plain[100:236, 100:236])  # inside the case
    assert np.abs(rgb[0].astype(int) - plain[0]).min(axis=0).max() > 20


def test_the_same_row_is_the_same_picture_and_other_ids_are_others():
    rgb = draw_clock(ROW)
    assert np.array_equal(draw_clock(dict(ROW)), rgb)
    for name in ("example_id", "watchface_id"):
        other = draw_clock(ROW | {name: "b"})
        assert other.shape != rgb.shape or (other != rgb).any()


def test_a_watch_face_looks_the_same_in_all_its_pictures():
    styles = [sample_style(Rng(7)) for _ in range(2)]
    assert styles[0] == styles[1]
    assert sample_style(Rng(8)) != styles[0]


def test_styles_are_of_all_kinds_and_their_hands_stand_out():
    styles = [sample_style(Rng(seed), likes_digits=seed % 2 == 0) for seed in range(600)]
    for name in ("shape", "numerals", "ticks", "hands", "font"):
        assert {getattr(s, name) for s in styles} == {one for w, one in CHOICES if w == name}
    assert {s.digital for s in styles} == {"", *clock_style.DISPLAYS}
    for style in styles:
        face = luminance(style.face)
        assert min(abs(luminance(c) - face) for c in (style.hand, style.second, style.ink)) > 0.4
        assert style.numerals != "none" or style.ticks != "none"


def test_views_keep_the_clock_inside_the_picture():
    angles = np.deg2rad(np.arange(0, 360, 5))
    case = 1.2 * RADIUS * np.stack([np.sin(angles), np.cos(angles)], axis=1) + 0.5
    for seed in range(300):
        view = sample_view(Rng(seed), is_marked=True)
        corners = (case * view.side_px)[None]
        (there,) = cv2.perspectiveTransform(corners, homography(view, view.side_px))
        assert there.min() >= 0
        assert there.max() <= view.side_px


def turned(view: View) -> float:
    """Degrees by which a view turns a hand at most, whatever it points to."""
    angles = np.arange(0, 360, 6)
    tips = 0.5 + MINUTE_HAND * RADIUS * np.stack(
        [np.sin(np.deg2rad(angles)), -np.cos(np.deg2rad(angles))], axis=1
    )
    points = np.concatenate([[[0.5, 0.5]], tips])[None]
    ((middle, *seen_tips),) = cv2.perspectiveTransform(points, homography(view, 1))
    x, y = (np.array(seen_tips) - middle).T
    return max(map(off, np.rad2deg(np.arctan2(x, -y)), angles))


def test_a_face_without_numerals_is_never_turned_by_half_a_minute():
    views = [sample_view(Rng(seed), is_marked=False) for seed in range(300)]
    assert max(turned(view) for view in views) < 3
    marked = [sample_view(Rng(seed), is_marked=True) for seed in range(300)]
    assert 10 < max(turned(view) for view in marked) < 25


@pytest.mark.parametrize(
    ("hour", "has_period", "is_24h", "shown"),
    [
        (0, False, True, "12"),
        (0, True, True, "00"),
        (13, True, False, "1"),
        (13, True, True, "13"),
    ],
)
def test_digits_count_to_24_only_where_the_time_of_day_is_told(hour, has_period, is_24h, shown):
    time = ClockTime(hour=hour, minute=5, second=7, has_period=has_period)
    assert digits_of(time, is_24h=is_24h) == (shown, "05", "07")
    assert digits_of(replace(time, second=None), is_24h=is_24h) == (shown, "05", "")
    assert time.period == (("PM" if hour > 12 else "AM") if has_period else "")


def test_no_two_digits_light_the_same_segments():
    masks = [segments(str(digit), 64) for digit in range(10)]
    assert {mask.shape for mask in masks} == {(64, 35)}
    lit = {mask.tobytes() for mask in masks}
    assert len(lit) == 10
    assert masks[8].sum() == max(mask.sum() for mask in masks)
    assert segments("1:1", 64).shape[1] < 3 * 35


def test_am_and_pm_lie_under_no_hand():
    """The two pictures differ in the window alone, and there by enough to be read."""
    for hour in range(12):
        for minute in range(0, 60, 5):
            am = ClockTime(hour=hour, minute=minute, has_period=True)
            pm = replace(am, hour=hour + 12)
            a, b = (draw(t, PLAIN, View(side_px=128)).astype(int) for t in (am, pm))
            assert (np.abs(a - b).max(axis=2) > 60).sum() >= 4, (hour, minute)


def test_what_is_not_visible_is_not_shown():
    rows = [ROW, ROW | {"second_visible": -1}, ROW | {"shows_seconds": False}]
    rows.append(rows[1] | {"minute_visible": -1})
    rows.append(rows[3] | {"hour_visible": -1})
    times = [read_time(row) for row in rows]
    shown = [["8", "15", "30"], ["8", "15", ""], ["8", "15", ""], ["8", "", ""], ["", "", ""]]
    assert [list(digits_of(time, is_24h=True)) for time in times] == shown
    red, black = [], []
    for time in times:
        rgb = draw(time, PLAIN, PLAIN_VIEW).astype(int)
        red.append((rgb[..., 0] - rgb[..., 1] > 60).any())
        black.append((rgb.max(axis=2) < 40).sum())
    assert red == [True, False, False, False, False]
    assert black[1] == black[2] > black[3] > black[4] == 0


@pytest.mark.parametrize(
    ("name", "value"), [("hour_visible", 24), ("minute_visible", 60), ("second_visible", -2)]
)
def test_a_time_that_no_clock_shows_is_refused(name, value):
    with pytest.raises(PictureError, match=rf"cannot show {name} = {value}: wants 0 to"):
        draw_clock(ROW | {name: value})


def test_the_date_is_that_of_the_row_where_there_is_one():
    assert read_time(ROW).date == date(2020, 6, 28)
    assert read_time(ROW | {"watch_time": "003_2020-02-31T08:15:30"}).date is None
    assert read_time(ROW | {"watch_time": "08:15:30"}).date is None
