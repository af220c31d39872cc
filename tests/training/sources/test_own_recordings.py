"""Own recordings: a folder with JSON lines."""

from __future__ import annotations

import json

import pytest
from greys import save_png

from molmo_training.records import Annotation, Marks, Turn
from molmo_training.sources.catalog import open_set
from molmo_training.sources.columns import SchemaError

ASKED = {"image": "frames/1.png", "question": "Is it open?", "answer": "Yes."}
POINTED = {"image": "frames/1.png", "label": "red mug", "points": [{"x": 41, "y": 2.5}]}
COUNTED = {"image": "frames/2.png", "label": "mugs", "points": [], "count": True}


@pytest.fixture
def recorded(tmp_path):
    def write(*rows, split="train"):
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
        save_png(tmp_path / "frames" / "1.png", 8)
        return tmp_path

    return write


def test_lines_about_a_picture_become_its_record(recorded):
    first, second = open_set("recordings", recorded(ASKED, COUNTED, POINTED))
    assert (first.picture.load() == 8).all()
    mug = Marks(points=((41.0, 2.5),), label="red mug", in_pixels=True)
    none = Marks(points=(), label="mugs", in_pixels=True)
    assert first.annotations == (
        Annotation("user_qa", (Turn(question="Is it open?", answers=("Yes.",)),)),
        Annotation("pointing", (Turn(label="red mug", marks=(mug,)),)),
    )
    turn = Turn(label="mugs", marks=(none,))
    assert second.annotations == (Annotation("point_count", (turn,)),)


def test_each_split_has_its_file(recorded):
    recorded(ASKED)
    directory = recorded(POINTED, split="validation")
    (record,) = open_set("recordings", directory, "validation")
    assert record.annotations[0].style == "pointing"
    with pytest.raises(SchemaError, match=r"test\.jsonl: is not there"):
        open_set("recordings", directory, "test")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", r"train\.jsonl, line 2: wants a JSON object with an image, got '\{'"),
        ('{"label": "mug"}', r"train\.jsonl, line 2: wants a JSON object with an image"),
        ("[1]", r"train\.jsonl, line 2: wants a JSON object with an image, got '\[1\]'"),
        (ASKED | {"answer": 3}, "recordings: row 1, column 'answer': wants some text, got 3"),
        (POINTED | {"points": [[1, 2]]}, "row 1, column 'points': wants a list of"),
        (ASKED | {"label": "mug"}, "row 1: wants question and answer, .*got answer, label, quest"),
        ({"image": "frames/2.png"}, "row 1: wants question and answer.*got none of them"),
    ],
)
def test_a_bad_line_is_named(recorded, row, message):
    with pytest.raises(SchemaError, match=message):
        list(open_set("recordings", recorded(POINTED | {"image": "frames/3.png"}, row)))
