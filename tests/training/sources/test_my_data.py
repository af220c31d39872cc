"""Our own pictures as a data set: what a line teaches, and what is said about one that cannot."""

from __future__ import annotations

import json
import logging

import pytest
from greys import save_png

from molmo_training.own_lines import read_lines
from molmo_training.prompts import Rng, write_chat
from molmo_training.records import Annotation, Marks, Turn
from molmo_training.sources.catalog import open_set
from molmo_training.sources.columns import SchemaError

ASKED = {"image": "frames/1.png", "prompt": "Is it open?", "answer": "Yes."}
POINTED = {"image": "frames/1.png", "label": "red mug", "points": [{"x": 3.5, "y": 2.5}]}
COUNTED = {"image": "frames/2.png", "label": "mugs", "points": [], "count": True}
UNLABELLED = {"image": "frames/2.png", "label": "mug", "points": None}


@pytest.fixture
def recorded(tmp_path):
    def write(*rows, split="data"):
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
        for number in (1, 2, 3):
            save_png(tmp_path / "frames" / f"{number}.png", 8)
        return tmp_path

    return write


def test_lines_about_a_picture_become_its_record(recorded):
    first, second = open_set("my-data", recorded(ASKED, COUNTED, POINTED))
    assert (first.picture.load() == 8).all()
    mug = Marks(points=((50.0, 50.0),), label="red mug")  # pixel centres of 8 x 6
    none = Marks(points=(), label="mugs")
    assert first.annotations == (
        Annotation("user_qa", (Turn(question="Is it open?", answers=("Yes.",)),)),
        Annotation("pointing", (Turn(label="red mug", marks=(mug,)),)),
    )
    turn = Turn(label="mugs", marks=(none,))
    assert second.annotations == (Annotation("point_count", (turn,)),)


@pytest.mark.parametrize(
    ("row", "prompt", "answer"),
    [
        (
            {"prompt": "Point to the mug.", "percent": [[25, 50]]},
            "Point to the mug.",
            '<point x="25.0" y="50.0" alt="mug">mug</point>',
        ),
        (
            {"prompt": "Where may I grasp it?", "label": "mug handle", "points": [[3.5, 2.5]]},
            "Where may I grasp it?",
            '<point x="50.0" y="50.0" alt="mug handle">mug handle</point>',
        ),
        (
            {"prompt": "How many mugs are there?", "percent": [[25, 50]], "count": True},
            "How many mugs are there?",
            'Counting the <point x="25.0" y="50.0" alt="mugs">mugs</point> shows a total of 1.',
        ),
        ({"prompt": "Where is it?", "points": []}, "Where is it?", "There are none."),
        ({"prompt": "Count, please.", "count": 3}, "Count, please.", "3."),
    ],
)
def test_a_line_teaches_its_answer_to_its_prompt(recorded, row, prompt, answer):
    (record,) = open_set("my-data", recorded({"image": "frames/1.png", **row}))
    (said,) = write_chat(record.annotations[0], Rng(0), (8, 6), tag_rate=0.0)
    assert said.prompt == f" User: {prompt} Assistant:"
    assert said.answer == f" {answer}"


def test_each_split_has_its_file(recorded):
    recorded(ASKED)
    directory = recorded(POINTED, split="validation")
    (record,) = open_set("my-data", directory, "validation")
    assert record.annotations[0].style == "pointing"
    (named,) = open_set("my-data", directory / "validation.jsonl")
    assert named == record
    with pytest.raises(SchemaError, match=r"test\.jsonl: is not there"):
        open_set("my-data", directory, "test")


def test_what_is_not_labelled_yet_is_left_out_and_counted(recorded, caplog):
    with caplog.at_level(logging.WARNING):
        (line,) = read_lines(recorded(UNLABELLED, POINTED, UNLABELLED))
    assert (line.number, line.label) == (2, "red mug")
    assert "2 of 3 lines are not labelled yet" in caplog.text
    with pytest.raises(SchemaError, match="none of its 1 lines is labelled yet"):
        open_set("my-data", recorded(UNLABELLED))


def test_own_data_are_not_looked_for_on_the_hub():
    with pytest.raises(SchemaError, match="name their folder"):
        open_set("my-data")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", r"data\.jsonl, line 2: is no JSON"),
        ('{"label": "mug"}', 'line 2: wanted an object with "image"'),
        ("[1]", 'line 2: wanted an object with "image"'),
        (ASKED | {"answer": 3}, "line 2: answer is a text"),
        (ASKED | {"prompt": 3}, "line 2: prompt is a text, got 3"),
        (POINTED | {"points": [[1]]}, "line 2: points are a list"),
        (POINTED | {"points": [[9, 2]]}, "line 2: .* outside of the picture of 8 x 6"),
        (ASKED | {"points": []}, "line 2: wanted one of points, .*got image, prompt, answer, po"),
        ({"image": "frames/2.png"}, "line 2: wanted one of points"),
        (ASKED | {"prompt": None, "label": "mug"}, "line 2: .* an answer wants a prompt"),
        (POINTED | {"label": None, "prompt": "Where?"}, "line 2: wanted a label beside the prom"),
        (ASKED | {"image": "frames/4.png"}, r"line 2: .*4\.png: cannot be read"),
    ],
)
def test_a_bad_line_is_named(recorded, row, message):
    with pytest.raises(SchemaError, match=message):
        open_set("my-data", recorded(POINTED, row))
