"""Labels by stamp or number: which image each means, and what is said of those that mean none."""

from __future__ import annotations

import json

import pytest

from molmo_ros.bag_labels import Finder, Frame, LabelError, read_labels

FIRST_NS = 1_700_000_000_123_456_789
FRAMES = [Frame(number, FIRST_NS + number * 33_000_000) for number in range(5)]


@pytest.fixture
def find():
    return Finder("bag", "/image", FRAMES)


@pytest.mark.parametrize(
    ("row", "number"),
    [
        ({"frame": 3}, 3),
        ({"stamp": "1700000000.156456789"}, 1),
        ({"stamp": 1700000000.1564567}, 1),  # JSON's numbers have 16 digits
        ({"stamp": 1700000000.123}, 0),  # rounded to milliseconds
        ({"stamp": "1700000000.1239"}, 0),
        ({"stamp": FRAMES[4].stamp, "frame": 4}, 4),
    ],
)
def test_a_label_names_its_image(find, row, number):
    assert find("here", row) == FRAMES[number]


def test_stamps_out_of_order_are_found():
    frames = [Frame(0, FIRST_NS + 10**9), Frame(1, FIRST_NS)]
    assert Finder("bag", "/image", frames)("here", {"stamp": frames[0].stamp}) == frames[0]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"frame": 5}, "here: there is no frame 5: /image of bag has the numbers 0 to 4"),
        ({"frame": -1}, "there is no frame -1"),
        ({"frame": True}, "there is no frame True"),
        ({"frame": "3"}, "there is no frame '3'"),
        ({"stamp": "1700000000.17"}, r"the nearest has 1700000000\.156456789, 0\.014 s away"),
        ({"stamp": 12}, "no image of /image of bag has the stamp 12"),
        ({"stamp": "soon"}, "stamp is in seconds, got 'soon'"),
        ({"stamp": None}, "stamp is in seconds, got None"),
        ({"stamp": "nan"}, "stamp is in seconds, got 'nan'"),
        ({"stamp": FRAMES[4].stamp, "frame": 3}, "frame 3 of /image of bag has the stamp"),
    ],
)
def test_a_label_of_no_image_is_refused(find, row, said):
    with pytest.raises(LabelError, match=said):
        find("here", row)


def test_rows_come_with_their_place(tmp_path):
    file = tmp_path / "labels.jsonl"
    rows = [{"frame": 1, "label": "mug", "points": []}, {"stamp": 1.5, "answer": "a\u2028b"}]
    lines = "\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    file.write_text("\ufeff" + lines, encoding="utf-8")
    places = [f"{file}, line 1", f"{file}, line 3"]
    assert list(read_labels(file)) == list(zip(places, rows, strict=True))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"\n", "is empty"),
        (b"{", "line 1: is no JSON"),
        (b"[]", 'line 1: wanted an object with "frame"'),
        (b'{"image": "a.png"}', 'wanted an object with "frame", .* got {"image"'),
        (b"\xff\xfe", "is no text in UTF-8"),
    ],
)
def test_a_bad_file_is_named_with_its_line(tmp_path, text, said):
    file = tmp_path / "labels.jsonl"
    file.write_bytes(text)
    with pytest.raises(LabelError, match=f"{file}.*{said}"):
        list(read_labels(file))
