"""Academic sets of the hub from tables with their published schemas."""

from __future__ import annotations

import pyarrow as pa
import pytest
from greys import png

from molmo_training.records import Annotation, Turn
from molmo_training.sources.academic import ACADEMIC
from molmo_training.sources.catalog import open_set
from molmo_training.sources.columns import SchemaError

TEXT, INT = pa.string(), pa.int64()
IMAGE = pa.struct({"bytes": pa.binary(), "path": TEXT})
OKVQA_ANSWER = pa.struct({"answer": TEXT, "raw_answer": TEXT, "answer_id": INT})
SCHEMAS = {
    "chart_qa_weighted": {
        "image": IMAGE,
        "query": TEXT,
        "label": pa.list_(TEXT),
        "human_or_machine": INT,
    },
    "doc_qa": {"questionId": TEXT, "image": IMAGE, "question": TEXT, "answers": pa.list_(TEXT)},
    "text_vqa": {"image_id": TEXT, "image": IMAGE, "question": TEXT, "answers": pa.list_(TEXT)},
    "okvqa": {"image": IMAGE, "question": TEXT, "answers": pa.list_(OKVQA_ANSWER)},
    "science_qa_img": {
        "image": IMAGE,
        "question": TEXT,
        "choices": pa.list_(TEXT),
        "answer": pa.int8(),
        "hint": TEXT,
        "lecture": TEXT,
    },
}
PICTURE = {"bytes": png(5), "path": None}
ROWS = {
    "chart_qa_weighted": {
        "image": PICTURE,
        "query": "How much?",
        "label": ["12"],
        "human_or_machine": 0,
    },
    "doc_qa": {"image": PICTURE, "question": "Which?", "answers": ["a", "b"]},
    "text_vqa": {"image": PICTURE, "question": "Which?", "answers": ["a", "b"]},
    "okvqa": {
        "image": PICTURE,
        "question": "Which?",
        "answers": [{"answer": "a"}, {"answer": "b"}],
    },
    "science_qa_img": {
        "image": PICTURE,
        "question": "Which?",
        "choices": ["one", "two"],
        "answer": 1,
        "hint": "Look.",
    },
}


@pytest.fixture
def opened(parquet):
    def open_(name, *changes, drop=(), split="train", schema=None):
        fields = {k: v for k, v in (SCHEMAS[name] | (schema or {})).items() if k not in drop}
        rows = [
            {k: v for k, v in (ROWS[name] | c).items() if k in fields} for c in changes or [{}]
        ]
        published = ACADEMIC[name].published_split(split)
        return open_set(name, parquet(rows, pa.schema(list(fields.items())), published), split)

    return open_


@pytest.mark.parametrize("name", ["doc_qa", "text_vqa", "okvqa"])
def test_questions_keep_all_references(opened, name):
    (record,) = opened(name)
    assert (record.picture.load() == 5).all()
    turn = Turn(question="Which?", answers=("a", "b"))
    assert record.annotations == (Annotation(name, (turn,)),)


@pytest.mark.parametrize("name", ["doc_qa", "text_vqa", "okvqa"])
def test_a_test_split_may_lack_answers(opened, name):
    (record,) = opened(name, {"answers": None}, split="test")
    assert record.annotations[0].turns == (Turn(question="Which?"),)


def test_charts_of_people_and_machines_weigh_the_same_in_sum(opened):
    human, machine = opened("chart_qa_weighted", {}, {"human_or_machine": 1}, split="validation")
    weights = [record.annotations[0].weight for record in (human, machine)]
    assert weights == pytest.approx([2 * 20901 / 28299, 2 * 7398 / 28299])
    assert human.annotations[0].turns == (Turn(question="How much?", answers=("12",)),)


def test_science_is_about_pictures_and_keeps_hint_and_question(opened):
    records = opened("science_qa_img", {"image": None}, {}, {"hint": ""})
    turns = [record.annotations[0].turns[0] for record in records]
    assert [turn.question for turn in turns] == ["Look.\nWhich?", "Which?"]
    assert (turns[0].options, turns[0].answers) == (("one", "two"), ("B",))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("chart_qa_weighted", {"label": []}, "column 'label': wants a list of texts, got"),
        ("chart_qa_weighted", {"human_or_machine": 7}, "'human_or_machine': wants 0 .* got 7"),
        ("doc_qa", {"answers": ["a", ""]}, "column 'answers': wants a list of texts"),
        ("text_vqa", {"question": None}, "column 'question': wants some text, got None"),
        ("okvqa", {"answers": [{"answer": None}]}, r"column 'answers': wants a list of \{answer"),
        ("science_qa_img", {"answer": 2}, "column 'answer': wants the number of one of 2"),
        ("science_qa_img", {"choices": None}, "column 'choices': wants a list of texts"),
    ],
)
def test_a_bad_value_is_named_with_its_row_and_column(opened, name, change, message):
    with pytest.raises(SchemaError, match=f"{name}: row 1[,:] .*{message}"):
        list(opened(name, {}, change))


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("chart_qa_weighted", "label"),
        ("doc_qa", "question"),
        ("text_vqa", "image"),
        ("okvqa", "question"),
        ("science_qa_img", "choices"),
    ],
)
def test_a_missing_column_is_named(opened, name, column):
    with pytest.raises(SchemaError, match=f"lacks column '{column}'"):
        opened(name, drop=(column,))


@pytest.mark.parametrize(
    ("name", "schema", "change"),
    [
        ("chart_qa_weighted", {"label": TEXT}, {"label": "12"}),
        ("doc_qa", {"answers": TEXT}, {"answers": "a"}),
        ("text_vqa", {"image": TEXT}, {"image": "a.png"}),
        ("okvqa", {"answers": pa.list_(TEXT)}, {"answers": ["a"]}),
        ("science_qa_img", {"answer": TEXT}, {"answer": "B"}),
    ],
)
def test_a_column_of_another_type_is_refused_when_the_table_is_opened(
    opened, name, schema, change
):
    (column,) = change
    with pytest.raises(SchemaError, match=rf"{name}: row 0, column '{column}': wants "):
        opened(name, change, schema=schema)
