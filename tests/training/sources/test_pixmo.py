"""Every PixMo set from a table with its published schema, and tables that are refused."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from pixmo_tables import INT, READERS, ROWS, SCHEMAS, TEXT

from molmo_model.pictures import PictureError
from molmo_training.clocks import draw_clock
from molmo_training.records import Annotation, Marks, Remote, Turn
from molmo_training.sources.columns import SchemaError
from molmo_training.sources.pixmo import PIXMO
from molmo_training.sources.source import open_records, stream_records


@pytest.fixture
def opened(parquet):
    """Opens a reader on its row with changes, one table row per change."""

    def open_(name, *changes, split="train", held_out=0, drop=(), schema=None, **options):
        kind = READERS[name]
        base = dict(ROWS[kind])
        if "high_freq" in name:
            base["collection_method"] = "counting"
        fields = {k: v for k, v in (SCHEMAS[kind] | (schema or {})).items() if k not in drop}
        rows = [{k: v for k, v in (base | c).items() if k in fields} for c in changes or ({},)]
        folder = f"{name.removeprefix('pixmo_docs_')}" if kind == "docs" else "data"
        directory = parquet(rows, pa.schema(list(fields.items())), split, folder)
        return open_records(name, PIXMO[name], directory, split, held_out=held_out, **options)

    return open_


def one(records) -> tuple[Annotation, ...]:
    (record,) = records
    return record.annotations


def test_every_set_has_a_reader_here():
    assert set(READERS) == set(PIXMO)


def test_a_caption_is_one_text_and_in_the_first_stage_two(opened):
    caption = Annotation("long_caption", (Turn(answers=("A cat.",)),))
    spoken = Annotation("transcript", (Turn(answers=("So a cat.", "I see a cat.")),))
    assert one(opened("pixmo_cap")) == (caption,)
    assert one(opened("pixmo_cap_with_transcripts")) == (caption, spoken)


def test_questions_about_a_picture_share_a_record(opened):
    other = {"image_url": "v", "image_sha256": "cd"}
    records = opened("pixmo_ask_model_anything", {}, other, {"question": "How many cats?"})
    assert [record.picture.source for record in records] == [
        Remote("u", "ab"),
        Remote("v", "cd"),
    ]
    first = [(a.style, a.turns[0].question) for a in records[0].annotations]
    assert first == [("user_qa", "Who?"), ("user_qa", "How many cats?")]


def test_messages_are_turns_of_one_conversation(opened):
    said = ["Who?", "A cat.", "Which colour?", "Grey."]
    (annotation,) = one(opened("pixmo_cap_qa", {"messages": said}))
    assert annotation.style == "synthetic_qa"
    assert [(t.question, t.answers) for t in annotation.turns] == [
        ("Who?", ("A cat.",)),
        ("Which colour?", ("Grey.",)),
    ]


@pytest.mark.parametrize(
    ("question", "asked"),
    [
        ("Who?", ["Who?"]),
        ("[USER] Who? [ASSISTANT]", ["Who?"]),
        ("[USER] Who? [ASSISTANT] A man. [USER] Sure? [ASSISTANT]", ["Who?", "Sure?"]),
    ],
)
def test_older_uploads_write_a_conversation_into_the_question(opened, question, asked):
    (annotation,) = one(opened("pixmo_cap_qa", {"question": question}, drop=("messages",)))
    assert [turn.question for turn in annotation.turns] == asked
    assert annotation.turns[-1].answers == ("A cat.",)


def test_messages_without_an_answer_are_refused(opened):
    with pytest.raises(SchemaError, match=r"pixmo_cap_qa: row 0: column 'messages'.*got 3 texts"):
        opened("pixmo_cap_qa", {"messages": ["a", "b", "c"]})[0]


def test_the_row_at_fault_is_named_among_those_of_a_picture(opened):
    records = opened("pixmo_cap_qa", {}, {}, {"messages": ["a"]})
    with pytest.raises(SchemaError, match="pixmo_cap_qa: row 2: column 'messages'.*got 1 texts"):
        records[0]


@pytest.mark.parametrize("name", [name for name in READERS if "pixmo_points" in name])
def test_points_are_kept_as_percent_by_how_they_were_collected(opened, name):
    counted, pointed = {"collection_method": "counting"}, {"collection_method": "pointing"}
    here, elsewhere = (counted, pointed) if "high_freq" in name else (pointed, counted)
    annotations = one(opened(name, here, elsewhere, here | {"label": "dog", "points": []}))
    marks = Marks(points=((10.0, 20.0), (30.5, 4.0)), label="Cats")
    style = "point_count" if name.endswith("counting") else "pointing"
    assert annotations == (
        Annotation(style, (Turn(label="Cats", marks=(marks,)),)),
        Annotation(style, (Turn(label="dog", marks=(Marks(points=(), label="dog"),)),)),
    )


def test_explanations_keep_their_points_and_come_in_two_halves(opened):
    again = [{"question": f"Where {i}?"} for i in range(3)]
    unparsed = {"parsed_response": None, "points": None, "alt_text": None, "inline_text": None}
    records = opened("pixmo_pointing_explanations", unparsed, *again)
    assert [len(record.annotations) for record in records] == [2, 1]
    marks = Marks(points=((10.0, 20.0),), label="a cup", text="cup")
    turn = Turn(question="Where 2?", answers=("The <|POINT|> is left.",), marks=(marks,))
    assert records[1].annotations == (Annotation("point_qa", (turn,)),)


def test_an_explanation_with_other_points_than_places_is_refused(opened):
    records = opened("pixmo_pointing_explanations", {}, {"image_url": "v", "points": []})
    with pytest.raises(SchemaError, match=r"row 1: column 'parsed_response': has 1 .* 0 lists"):
        records[1]


@pytest.mark.parametrize("kind", ["charts", "tables", "diagrams", "other"])
def test_documents_bring_their_picture_and_all_questions(opened, kind):
    (record,) = opened(f"pixmo_docs_{kind}")
    assert (record.picture.load() == 9).all()
    assert record.annotations == tuple(
        Annotation(f"pixmo_docs_{kind}", (Turn(question=q, answers=(a,)),))
        for q, a in (("How much?", "12"), ("Which?", "The first."))
    )


def test_a_clock_is_drawn_from_what_its_row_says(opened):
    (record,) = opened("clocks")
    turn = Turn(question="What time is being shown?", answers=("8:15:30",))
    assert record.annotations == (Annotation("clocks", (turn,)),)
    row = {name: ROWS["clocks"][name] for name in SCHEMAS["clocks"] if name != "watchface_name"}
    assert np.array_equal(record.picture.load(), draw_clock(row))
    (other,) = opened("clocks", {"minute_visible": 16})
    assert not np.array_equal(other.picture.load(), draw_clock(row))


def test_a_clock_that_shows_no_time_of_day_is_no_picture(opened):
    (record,) = opened("clocks", {"hour_visible": 31})
    with pytest.raises(PictureError, match="hour_visible = 31: wants 0 to 23"):
        record.picture.load()


@pytest.mark.parametrize(
    ("name", "style"), [("pixmo_count", "pointing"), ("pixmo_count_counting", "point_count")]
)
def test_counted_points_are_pixels(opened, name, style):
    marks = Marks(points=((3.0, 4.0), (5.0, 6.0)), label="cats", in_pixels=True)
    assert one(opened(name)) == (Annotation(style, (Turn(label="cats", marks=(marks,)),)),)


def test_counts_of_the_test_split_have_a_number_alone(opened):
    turn = Turn(label="cats", answers=("2",))
    for drop in ((), ("points",)):
        records = opened("pixmo_count_counting", {"points": None}, split="test", drop=drop)
        assert one(records) == (Annotation("point_count", (turn,)),)


def test_a_count_that_is_not_that_of_its_points_is_refused(opened):
    with pytest.raises(SchemaError, match=r"row 0: column 'points': wants as many .* 3, got 2"):
        opened("pixmo_count", {"count": 3})[0]


BAD = {  # schema -> a value that its row must not have, and the column it is in
    "cap": ("caption", None),
    "ask": ("answer", ""),
    "cap_qa": ("question", "  "),
    "points": ("points", [{"x": None, "y": 3.0}]),
    "explanations": ("points", [[{"x": 1.0, "y": float("nan")}]]),
    "docs": ("questions", {"question": ["Why?"], "answer": [None]}),
    "clocks": ("text", None),
    "count": ("count", None),
}


@pytest.mark.parametrize("name", READERS)
def test_a_bad_value_is_named_with_its_row_and_column(opened, name):
    column, value = BAD[READERS[name]]
    fine = {"image_url": "v"} if "image_url" in SCHEMAS[READERS[name]] else {}
    records = opened(name, {}, fine | {column: value})
    with pytest.raises(SchemaError, match=rf"{name}: row 1, column '{column}': wants .*, got "):
        list(records)


@pytest.mark.parametrize("name", READERS)
def test_a_missing_column_is_named_with_those_that_are_there(opened, name):
    column = BAD[READERS[name]][0]
    if name.startswith("pixmo_count"):
        column = "label"
    with pytest.raises(SchemaError, match=rf"{name} .*lacks column '{column}' \(.*it has "):
        opened(name, drop=(column,))


@pytest.mark.parametrize(
    ("name", "schema", "change"),
    [
        ("pixmo_cap", {"caption": INT}, {"caption": 5}),
        ("pixmo_ask_model_anything", {"answer": INT}, {"answer": 5}),
        ("pixmo_cap_qa", {"question": pa.list_(TEXT)}, {"question": ["a"]}),
        ("pixmo_points", {"points": pa.list_(pa.float64())}, {"points": [1.0, 2.0]}),
        ("pixmo_pointing_explanations", {"points": TEXT}, {"points": "1, 2"}),
        ("pixmo_docs_charts", {"image": TEXT}, {"image": "a.png"}),
        ("clocks", {"hour_visible": TEXT}, {"hour_visible": "8"}),
        ("pixmo_count", {"count": pa.float64()}, {"count": 2.0}),
    ],
)
def test_a_column_of_another_type_is_refused_when_the_table_is_opened(
    opened, name, schema, change
):
    (column,) = change
    with pytest.raises(SchemaError, match=rf"{name}: row 0, column '{column}': wants .*, got "):
        opened(name, change, schema=schema)


@pytest.mark.parametrize("name", [name for name in READERS if name != "clocks"])
def test_a_stream_gives_the_same_records(opened, name, tmp_path):
    records = list(opened(name))
    assert list(stream_records(name, PIXMO[name], tmp_path)) == records


def test_a_stream_gives_the_records_of_rows_that_follow_each_other(parquet):
    rows = [ROWS["ask"] | {"image_url": url} for url in "uuvu"]
    directory = parquet(rows, pa.schema(list(SCHEMAS["ask"].items())))
    name = "pixmo_ask_model_anything"
    records = list(stream_records(name, PIXMO[name], directory))
    assert [r.picture.source.url for r in records] == ["u", "v", "u"]
    assert [len(r.annotations) for r in records] == [2, 1, 1]


def test_a_stream_names_a_bad_row(parquet):
    rows = [ROWS["cap"], ROWS["cap"] | {"caption": None}]
    directory = parquet(rows, pa.schema(list(SCHEMAS["cap"].items())))
    with pytest.raises(SchemaError, match="pixmo_cap: row 1, column 'caption'"):
        list(stream_records("pixmo_cap", PIXMO["pixmo_cap"], directory))
