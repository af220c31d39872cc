"""AI2D: letters drawn over labels, and what is asked about them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from greys import save_png

from molmo_training.records import Annotation, Turn
from molmo_training.sources.catalog import open_set
from molmo_training.sources.columns import SchemaError
from molmo_training.sources.diagrams import DIAGRAMS, OPAQUE, TRANSPARENT, draw_letters
from molmo_training.sources.source import stream_records

BOX = (20, 20, 60, 50)
PLAIN = {"abcLabel": False, "answerTexts": ["sun", "rain"], "correctAnswer": 1}
LETTERED = {"abcLabel": True, "answerTexts": ["A", "B"], "correctAnswer": 0}


@pytest.fixture
def diagrams(tmp_path):
    """One diagram of grey 128 with a label, asked about in both ways; another for the test."""

    def write(plain=PLAIN, lettered=LETTERED):
        files = {
            "questions/1.png.json": {"questions": {"Why?": plain, "Which?": lettered}},
            "questions/2.png.json": {"questions": {"Test?": PLAIN}},
            "annotations/1.png.json": {
                "text": {"T1": {"rectangle": [BOX[:2], BOX[2:]], "replacementText": "A"}}
            },
        }
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(content))
        (tmp_path / "ai2d_test_ids.csv").write_text("2\n")
        save_png(tmp_path / "images" / "1.png", 128, height=80, width=100)
        return tmp_path

    return write


def test_a_diagram_is_asked_about_as_it_is_and_with_letters_in_both_ways(diagrams):
    plain, opaque, transparent = open_set("ai2_diagram", diagrams())
    turn = Turn(question="Why?", options=("sun", "rain"), answers=("B",))
    assert plain.annotations == (Annotation("ai2_diagram", (turn,)),)
    turn = Turn(question="Which?", options=("A", "B"), answers=("A",))
    assert opaque.annotations == transparent.annotations
    assert opaque.annotations == (Annotation("ai2_diagram_no_letter", (turn,)),)
    assert (plain.picture.load() == 128).all()
    assert not np.array_equal(opaque.picture.load(), transparent.picture.load())


def test_a_stream_gives_the_same_records(diagrams):
    streamed = stream_records("ai2_diagram", DIAGRAMS["ai2_diagram"], diagrams())
    opened = open_set("ai2_diagram", diagrams())
    assert [r.annotations for r in streamed] == [r.annotations for r in opened]


def test_the_test_split_is_the_listed_one(diagrams):
    (record,) = open_set("ai2_diagram", diagrams(), "test")
    assert record.annotations[0].turns[0].question == "Test?"


def test_opaque_boxes_hide_the_label_and_transparent_ones_do_not(diagrams):
    path = diagrams() / "images" / "1.png"
    for variant, ground in ((OPAQUE, 255), (TRANSPARENT, 128)):
        rgb = draw_letters(path, [("A", BOX)], variant)
        inside = rgb[22:49, 22:59]
        assert (inside[0] == ground).all() and (inside[:, 0] == ground).all()
        assert inside.min() < 60  # the letter
        outside = rgb.copy()
        outside[20:51, 20:61] = 128
        assert (outside == 128).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"plain": PLAIN | {"correctAnswer": 2}}, r"row 0: column 'correctAnswer'.*got 2"),
        ({"lettered": LETTERED | {"answerTexts": "AB"}}, r"row 1, column 'answerTexts'.*got 'AB'"),
        ({"plain": {"abcLabel": False}}, "lacks column 'answerTexts'.*'correctAnswer'"),
        ({"lettered": {"answerTexts": []}}, "not as published: KeyError: 'abcLabel'"),
    ],
)
def test_bad_questions_are_named(diagrams, changes, message):
    with pytest.raises(SchemaError, match=message):
        list(open_set("ai2_diagram", diagrams(**changes)))


def test_a_directory_without_questions_says_what_belongs_there(tmp_path):
    with pytest.raises(SchemaError, match="ai2d_test_ids.csv: is not there.*questions/"):
        open_set("ai2_diagram", tmp_path)
    (tmp_path / "ai2d_test_ids.csv").write_text("")
    with pytest.raises(SchemaError, match=r"questions/\*\.json: is not there"):
        open_set("ai2_diagram", tmp_path)
