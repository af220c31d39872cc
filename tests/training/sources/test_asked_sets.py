"""Sets that are fetched by hand, from directories laid out as their authors publish them."""

from __future__ import annotations

import json

import pytest
from greys import save_png

from molmo_training.records import Annotation, Turn
from molmo_training.sources.catalog import open_set
from molmo_training.sources.columns import SchemaError
from molmo_training.sources.questions import QUESTIONS
from molmo_training.sources.source import stream_records

VQA = "v2_OpenEnded_mscoco_train2014_questions.json"
VQA_ANSWERS = "v2_mscoco_train2014_annotations.json"
KNOWLEDGE = {
    "image_id": 9,
    "question": "Why?",
    "choices": ["sun", "rain"],
    "correct_choice_idx": 1,
    "direct_answers": ["rain", "rain", "water"],
}
COCO = "train2014/COCO_train2014_000000000009.jpg"
# set -> its files for two questions about one picture, and what becomes of the first
SETS = {
    "coco_2014_vqa_multi": (
        {
            VQA: {
                "questions": [
                    {"image_id": 9, "question_id": i, "question": "Why?"} for i in (1, 2)
                ]
            },
            VQA_ANSWERS: {
                "annotations": [
                    {"question_id": i, "answers": [{"answer": "rain"}, {"answer": "sun"}]}
                    for i in (2, 1)
                ]
            },
        },
        (COCO, "vqa2", Turn(question="Why?", answers=("rain", "sun"))),
    ),
    "a_okvqa_mc": (
        {"aokvqa_v1p0_train.json": [KNOWLEDGE, KNOWLEDGE]},
        (
            "train2017/000000000009.jpg",
            "a_okvqa_mc",
            Turn(question="Why?", options=("sun", "rain"), answers=("B",)),
        ),
    ),
    "a_okvqa_da": (
        {"aokvqa_v1p0_train.json": [KNOWLEDGE, KNOWLEDGE]},
        (
            "train2017/000000000009.jpg",
            "a_okvqa_da",
            Turn(question="Why?", answers=("rain", "rain", "water")),
        ),
    ),
    "tally_qa": (
        {"train.json": [{"image": "VG_100K/2.jpg", "question": "How many?", "answer": 3}] * 2},
        ("VG_100K/2.jpg", "tally_qa", Turn(question="How many?", answers=("3",))),
    ),
    "tabwmp_da": (
        {"problems_train.json": {"38": {"question": "Why?", "answer": "1,200"}}},
        ("tables/38.png", "tabwmp_da", Turn(question="Why?", answers=("1,200",))),
    ),
    "dv_qa": (
        {"train_qa.json": [{"image": "bar_1.png", "question": "Why?", "answer": "item"}] * 2},
        ("images/bar_1.png", "dv_qa", Turn(question="Why?", answers=("item",))),
    ),
    "figure_qa": (
        {
            "train1/qa_pairs.json": {
                "qa_pairs": [{"image_index": 4, "question_string": "Is it?", "answer": 1}] * 2
            }
        },
        ("train1/png/4.png", "figure_qa", Turn(question="Is it?", answers=("yes",))),
    ),
    "plot_qa": (
        {
            "train/qa_pairs_V2.json": {
                "qa_pairs": [{"image_index": 4, "question_string": "Mean?", "answer": 2.5}] * 2
            }
        },
        ("train/png/4.png", "plot_qa", Turn(question="Mean?", answers=("2.5",))),
    ),
    "info_qa": (
        {
            "infographicsVQA_train_v1.0.json": {
                "data": [{"question": "Why?", "answers": ["a"], "image_local_name": "7.jpeg"}]
            }
        },
        ("infographicsvqa_images/7.jpeg", "info_qa", Turn(question="Why?", answers=("a",))),
    ),
    "st_qa": (
        {
            "train_task_3.json": {
                "data": [{"question": "Why?", "answers": ["a"], "file_path": "coco/7.jpg"}]
            }
        },
        ("coco/7.jpg", "st_qa", Turn(question="Why?", answers=("a",))),
    ),
}


@pytest.fixture
def laid_out(tmp_path):
    def write(files):
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(content))
        return tmp_path

    return write


def test_every_set_is_tested_here():
    assert set(SETS) == set(QUESTIONS)


@pytest.mark.parametrize("name", SETS)
def test_files_become_records(laid_out, name):
    files, (picture, style, turn) = SETS[name]
    directory = laid_out(files)
    save_png(directory / picture, 7)
    (record,) = open_set(name, directory, held_out=0)
    assert (record.picture.load() == 7).all()
    number = 1 if name in ("tabwmp_da", "info_qa", "st_qa") else 2  # questions about the picture
    assert record.annotations == (Annotation(style, (turn,)),) * number
    assert list(stream_records(name, QUESTIONS[name], directory)) == [record]


@pytest.mark.parametrize("name", SETS)
def test_a_set_that_is_not_there_says_what_to_put_where(tmp_path, name):
    with pytest.raises(SchemaError, match=r"is not there\. Fetch it from .* and put there: "):
        open_set(name, tmp_path)
    with pytest.raises(SchemaError, match=r"not on the hub; name its directory\. Fetch it from"):
        open_set(name)


@pytest.mark.parametrize("name", SETS)
def test_files_of_another_form_are_refused(laid_out, name):
    files, _ = SETS[name]
    with pytest.raises(SchemaError, match=r"not as published: |lacks column|wants "):
        list(open_set(name, laid_out(dict.fromkeys(files, [{"other": 1}])), held_out=0))


@pytest.mark.parametrize("name", SETS)
def test_a_bad_value_is_named_with_its_row_and_column(laid_out, name):
    """The first question is spoilt wherever it stands."""
    files, _ = SETS[name]
    spoilt = json.loads(
        json.dumps(files)
        .replace('"question": "', '"question": "", "was": "')
        .replace('"question_string": "', '"question_string": "", "was": "')
    )
    with pytest.raises(SchemaError, match=f"{name}: row 0, column 'question': wants some text"):
        open_set(name, laid_out(spoilt), held_out=0)


def test_a_row_without_question_is_named_although_the_first_has_one(laid_out):
    files, _ = SETS["tally_qa"]
    (rows,) = files.values()
    other = {"image": "VG_100K/3.jpg", "answer": 1}
    records = open_set("tally_qa", laid_out({"train.json": [*rows, other]}))
    with pytest.raises(SchemaError, match="tally_qa: row 2, column 'question'.*got None"):
        list(records)


def test_a_choice_that_does_not_exist_is_refused(laid_out):
    wrong = KNOWLEDGE | {"correct_choice_idx": 2}
    records = open_set("a_okvqa_mc", laid_out({"aokvqa_v1p0_train.json": [wrong]}))
    with pytest.raises(SchemaError, match="a_okvqa_mc: row 0: column 'correct_choice_idx'.*got 2"):
        records[0]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("tabwmp_da", "problems_dev.json"),
        ("dv_qa", "val_easy_qa.json"),
        ("info_qa", "infographicsVQA_val_v1.0_withQT.json"),
        ("a_okvqa_mc", "aokvqa_v1p0_val.json"),
    ],
)
def test_validation_splits_are_found_by_their_own_names(laid_out, name, file):
    files, (_, _, turn) = SETS[name]
    (content,) = files.values()
    records = open_set(name, laid_out({file: content}), "validation")
    assert records[0].annotations[0].turns == (turn,)


def test_scene_text_holds_out_what_it_has_no_validation_for(laid_out):
    rows = [{"question": f"{i}?", "answers": ["a"], "file_path": f"{i}.jpg"} for i in range(30)]
    directory = laid_out({"train_task_3.json": {"data": rows}})
    train = open_set("st_qa", directory, held_out=6)
    validation = open_set("st_qa", directory, "validation", held_out=6)
    asked = [[r.annotations[0].turns[0].question for r in one] for one in (train, validation)]
    assert (len(asked[0]), len(asked[1])) == (24, 6)
    assert not set(asked[0]) & set(asked[1])
