"""Points in text: against the published parser and formatter, cut anywhere, on any text."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recipes import GOLDEN

from molmo_model.points import (
    Point,
    PointStream,
    StreamedPoint,
    format_count,
    format_points,
    parse_points,
    read_count,
)

POINTING = json.loads((GOLDEN / "text" / "pointing.json").read_text())
PERCENT = st.integers(0, 1000).map(lambda tenths: tenths / 10)
LABELS = st.text(st.characters(exclude_characters="<>")).filter(
    lambda label: "=" not in label and label == label.lower()
)
# Pieces that make points, almost points, and other things, in any order.
FRAGMENTS = st.sampled_from(
    ["<point", "<points", ' x="', ' y="', ' x1="', ' y23="', "12.3", "7", "100.0", "130.0", '"']
    + [" ", "x", "y", "=", ".", "5", " alt=", '"mug', '">', "mug", "</point>", "</points>", "\n"]
    + ["(12.3, 45.6)", "Click(", "p=123,456", "<", "д", "Counting the "]
)
TEXTS = st.lists(FRAGMENTS, max_size=60).map("".join) | st.text()
# The published parser's expression for tags.
TAGS = re.compile(r'x\d*="\s*([0-9]+(?:\.[0-9]+)?)"\s+y\d*="\s*([0-9]+(?:\.[0-9]+)?)"')


def streamed(pieces: list[str]) -> list[StreamedPoint]:
    stream = PointStream()
    return [one for piece in pieces for one in stream.feed(piece)] + stream.finish()


def cut(text: str, places: list[int]) -> list[str]:
    edges = [0, *sorted(place % (len(text) + 1) for place in places), len(text)]
    return [text[start:end] for start, end in zip(edges, edges[1:], strict=False)]


@pytest.mark.parametrize("case", POINTING["extract"], ids=lambda case: case["text"][:40])
def test_points_are_those_of_the_published_parser(case):
    expected = [tuple(pair) for pair in case["percent"]]
    if case["text"].startswith("Click"):  # the published parser finds a Click twice
        expected = expected[:1]
    found = [(point.x, point.y) for point in parse_points(case["text"])]
    assert found == [pytest.approx(pair, abs=1e-9) for pair in expected]


@pytest.mark.parametrize("case", POINTING["format"], ids=lambda c: f"{c['label']}-{c['style']}")
def test_training_text_is_the_published_one(case):
    points = [Point(x, y) for x, y in case["points_percent"]]
    write = {"pointing": format_points, "point_count": format_count}[case["style"]]
    assert write(points, case["label"]) == case["response"]


def test_a_coordinate_is_the_number_that_was_written():
    assert parse_points('<point x="12.3" y="3.5" alt="mug">mug</point>') == [
        Point(12.3, 3.5, "mug")
    ]


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ('<points x1="1" y1="2" x2="3" y2="4" alt="two mugs">mugs</points>', ["two mugs"] * 2),
        ('<point x="1" y="2" alt="a">b</point> <point x="3" y="4" alt="c">d</point>', ["a", "c"]),
        ('<point x="1" y="2" alt="say "hi" & <b>">x</point>', ['say "hi" & <b>']),
        ('<point x="1" y="2">red mug</point>', ["red mug"]),
        ('<point x="1" y="2" alt="red m', [""]),  # cut off by the token limit
        ('<point x="1" y="2">red m', [""]),
        ('<point p=123,456 alt="mug">mug</point>', ["mug"]),
        ("at (1.0, 2.0)", [""]),
    ],
)
def test_label_is_that_of_the_tag(text, labels):
    assert [point.label for point in parse_points(text)] == labels


@given(st.lists(st.tuples(PERCENT, PERCENT), max_size=12), LABELS)
def test_parsing_undoes_formatting(pairs, label):
    points = [Point(x, y, label) for x, y in sorted(pairs)]
    assert parse_points(format_points(points, label)) == points
    assert parse_points(format_count(points, label)) == points


@given(TEXTS, st.lists(st.integers(0, 10_000), max_size=20))
def test_cutting_a_text_does_not_change_its_points(text, places):
    pairs = [(one.point.x, one.point.y) for one in streamed(cut(text, places))]
    assert pairs == [(point.x, point.y) for point in parse_points(text)]


@given(TEXTS)
def test_tags_are_read_as_the_published_expression_reads_them(text):
    stream = PointStream()
    found = [(one.point.x, one.point.y) for one in stream.feed(text)]
    expected = [(float(x), float(y)) for x, y in TAGS.findall(text)]
    assert found == [pair for pair in expected if max(pair) <= 100]


@given(TEXTS)
def test_spans_are_where_the_numbers_stand(text):
    stream = PointStream()
    for one in stream.feed(text):
        assert float(text[slice(*one.x_span)]) == one.point.x
        assert float(text[slice(*one.y_span)]) == one.point.y


def test_a_point_is_found_the_moment_its_y_closes():
    stream = PointStream()
    assert stream.feed('The <points x1="12.3" y1="45.6') == []
    [first] = stream.feed('" x2="50.0" y2="7')
    assert (first.point, first.x_span, first.y_span) == (Point(12.3, 45.6), (16, 20), (26, 30))
    [second] = stream.feed('.1" alt')
    assert second.point == Point(50.0, 7.1)


@pytest.mark.parametrize("text", ["There are none.", "This isn't in the image.", "", "12.3 45.6"])
def test_an_answer_without_points_is_empty(text):
    assert parse_points(text) == []


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ('<point x="100.1" y="2.0" alt="a">a</point>', []),
        ('<point x="-1.0" y="2.0" alt="a">a</point>', []),
        ('<point x="0.0" y="100.0" alt="a">a</point>', [Point(0.0, 100.0, "a")]),
        ('<points x1="1" y1="2" x2="101" y2="3" alt="a">a</points>', [Point(1.0, 2.0, "a")]),
        ("Click(101.0, 2.0)", []),
        ("p=999,123", [Point(99.9, 12.3)]),
        (f'<point x="{"9" * 400}" y="1" alt="a">a</point>', []),  # infinite as a float
    ],
)
def test_points_outside_the_picture_are_dropped(text, inside):
    assert parse_points(text) == inside


def test_points_of_several_tags_come_in_the_order_of_the_text():
    text = 'See <point x="9.0" y="2.0" alt="a">a</point>, left of <points x1="50.0" y1="7.1" '
    text += 'x2="3.0" y2="4.0" alt="b">b</points>, and more.'
    expected = [Point(9.0, 2.0, "a"), Point(50.0, 7.1, "b"), Point(3.0, 4.0, "b")]
    assert parse_points(text) == expected


def test_other_notations_count_only_without_tags():
    assert parse_points("Click(10.5, 20.1)") == [Point(10.5, 20.1)]
    assert len(parse_points('<point x="1" y="2" alt="a">a</point> (12.3, 45.6)')) == 1


@pytest.mark.parametrize(
    "unit",
    ['x="', 'x="1', "1", " ", 'x="1" ', 'x1="1" y1="2" ', '<point x="1" y="2" alt="', "<point "]
    + ["(1", "(1.0, ", "1=123,", "x", 'x="1"' + " " * 50, '<point x="1" y="2"'],
)
def test_time_grows_no_faster_than_the_text(unit):
    text = 'x="' + unit * (100_000 // len(unit))
    start = time.perf_counter()
    parse_points(text)
    assert time.perf_counter() - start < 3  # quadratic time would take minutes


def test_fuzzing_finds_no_text_that_raises_or_takes_long():
    bench = Path(__file__).parents[2] / "bench" / "fuzz_points"
    done = subprocess.run(
        [sys.executable, bench, "-n", "30000", "--json"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["points"] > 10_000  # the texts are near enough to points
    growth = [found[key] for key in found if key.startswith("long_over_short")]
    assert len(growth) == 3
    assert max(growth) < 10  # a text 100 times as long, per character: quadratic time takes 100


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("There are none.", 0),
        (" this isn't in the image", 0),
        ('Counting the <point x="1.0" y="2.0" alt="mug">mug</point> shows a total of 1.', 1),
        ("shows a total of 12.", 12),
        ("7", 7),
        ('<points x1="1.0" y1="2.0" x2="3.0" y2="4.0" alt="mug">mug</points>', 2),
        ("Some mugs.", None),
        ("", None),
    ],
)
def test_a_count_is_the_stated_number_or_the_points(text, count):
    assert read_count(text) == count
