"""The published benchmarks: their rows become questions in Molmo's words, and truth."""

from __future__ import annotations

import hashlib
import json
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from published import png, write_parquet, write_picture

pytest.importorskip("datasets", reason="needs datasets for the tables")

import datasets

from molmo_model.pictures import PictureError
from molmo_training.tasks import TASKS, find_task
from molmo_training.tasks_example import EvalExample, TaskError, chosen

PICTURE = png(7)
URL = "https://example.org/a.png"
MASK = [[u >= 5 > v for u in range(10)] for v in range(10)]  # the upper right quarter
ROWS = {
    "pixmo_points": {
        "image_url": URL,
        "image_sha256": hashlib.sha256(PICTURE).hexdigest(),
        "label": "Mug",
        "points": [{"x": 75.0, "y": 25.0}],
        "masks": [MASK],
    },
    "pixmo_count": {"image_url": URL, "image_sha256": "", "label": "Mugs", "count": 3},
    "text_vqa": {"image": PICTURE, "question": "What word?", "answers": ["stop"] * 10},
    "okvqa": {
        "image": PICTURE,
        "question": "What word?",
        "answers": [{"answer": "stop", "answer_id": 1}] * 10,
    },
    "chart_qa": {"image": PICTURE, "query": "How much?", "label": ["10"]},
    "doc_qa": {"image": PICTURE, "question": "Which year?", "answers": ["1987", "in 1987"]},
    "real_world_qa": {
        "image": PICTURE,
        "question": "Which way?\nA. left\nB. right\nAnswer with the letter only.",
        "answer": "B",
    },
    "math_vista": {
        "decoded_image": PICTURE,
        "question": "How long?",
        "choices": [],
        "answer": "1.25",
        "answer_type": "float",
        "precision": 2.0,
    },
    "clocks": {
        "image": PICTURE,
        "example_id": "a",
        "hour_visible": 15,
        "minute_visible": 45,
    },
}
# What is asked; an answer that is right and one that is wrong.
ASKED = {
    "pixmo_points": (
        "pointing: Point to the mug.",
        '<point x="70.0" y="20.0" alt="mug">mug</point>',
        '<point x="30.0" y="20.0" alt="mug">mug</point>',
    ),
    "pixmo_count": ("point_count: How many mugs are there?", "a total of 3.", "There are none."),
    "text_vqa": ("text_vqa: What word?", "Stop!", "go"),
    "okvqa": ("okvqa: What word?", "the stop", "go"),
    "chart_qa": ("chart_qa: How much?", "10.4", "11"),
    "doc_qa": ("doc_qa: Which year?", "1987", "2020"),
    "real_world_qa": (
        "a_okvqa_mc: Which way?\nA. left\nB. right\nAnswer with the letter only.",
        "B",
        "A",
    ),
    "math_vista": ("vqa2: How long?", "It is 1.251", "1.26"),
    "clocks": ("clocks: What time is being shown?", "quarter to four", "4:15"),
    "countbench": ("point_count: How many cups?", "two", "5"),
    "vqa2": ("vqa2: What colour?", "red", "blue"),
    "a_okvqa_mc": ("a_okvqa_mc: Where?\nA: here\nB: there\n", "B", "A"),
    "a_okvqa_da": ("a_okvqa_da: Where?", "There", "here"),
    "ai2d": ("ai2_diagram: Which?\nA: leaf\nB: root\n", "B", "leaf"),
    "info_qa": ("info_qa: How many?", "40%", "12"),
    "tally_qa": ("tally_qa: How many dogs?", "2", "3"),
    "mmmu": ("a_okvqa_mc: What is shown in ?\nA: a tree\nB: a root\n", "(B)", "(A)"),
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Nothing of the tests' tables stays on this machine."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def official(name, folder):
    """Writes what the authors of a benchmark offer."""
    asked = {"question_id": 1, "image_id": 9, "question": "Where?"}
    choices = {
        "choices": ["here", "there"],
        "correct_choice_idx": 1,
        "direct_answers": ["there"] * 9,
    }
    ten = [{"answer": "red"}] * 10
    options = {"answerTexts": ["leaf", "root"], "correctAnswer": 1, "abcLabel": False}
    files = {
        "vqa2": {
            "v2_OpenEnded_mscoco_val2014_questions.json": {
                "questions": [asked | {"question": "What colour?"}]
            },
            "v2_mscoco_val2014_annotations.json": {
                "annotations": [{"question_id": 1, "answers": ten}]
            },
        },
        "a_okvqa_mc": {"aokvqa_v1p0_val.json": [asked | choices]},
        "a_okvqa_da": {
            "aokvqa_v1p0_val.json": [asked | choices, asked | {"difficult_direct_answer": True}]
        },
        "ai2d": {"questions/5.png.json": {"questions": {"Which?": options}}},
        "info_qa": {
            "infographicsVQA_val_v1.0_withQT.json": {
                "data": [
                    {"question": "How many?", "image_local_name": "a.png", "answers": ["40%"]}
                ]
            }
        },
        "tally_qa": {
            "test.json": [{"image": "VG_100K/1.png", "question": "How many dogs?", "answer": 2}]
        },
        "countbench": {"countbench_paired_questions.json": [{"question": "How many cups?"}]},
    }[name]
    for file, content in files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(json.dumps(content))
    (folder / "ai2d_test_ids.csv").write_text("5\n")
    for picture in (
        "val2014/COCO_val2014_000000000009.jpg",
        "val2017/000000000009.jpg",
        "images/5.png",
        "infographicsvqa_images/a.png",
        "VG_100K/1.png",
    ):
        write_picture(folder / picture)
    if name == "countbench":
        row = {"image": PICTURE, "number": 2, "text": "two cups"}
        write_parquet(folder / "data" / "train-0.parquet", [row], ("image",))


def published(name, folder, **changes):
    """Writes one row of a benchmark as the hub has it."""
    if name == "mmmu":
        row = {
            "id": "validation_Art_1",
            "question": "What is shown in <image 1>?",
            "options": "['a tree', 'a root']",
            "answer": "B",
            "image_1": PICTURE,
        }
        write_parquet(folder / "Art" / "validation-0.parquet", [row], ("image_1",))
        return
    row = {key: value for key, value in (ROWS[name] | changes).items() if value is not None}
    pictures = tuple(key for key, value in row.items() if isinstance(value, bytes))
    split = TASKS[name].examples.split
    write_parquet(folder / "data" / f"{split}-00000.parquet", [row], pictures)


def only(name, folder) -> EvalExample:
    [example] = TASKS[name].examples(folder, None, 0)
    return example


def make(name, folder):
    if name in ROWS or name == "mmmu":
        published(name, folder)
    else:
        official(name, folder)


@pytest.mark.parametrize("name", [name for name in TASKS if name != "scenes"])
def test_a_row_becomes_a_question_that_right_and_wrong_answers_are_told_apart_by(name, tmp_path):
    make(name, tmp_path)
    example = only(name, tmp_path)
    prompt, right, wrong = ASKED[name]
    assert example.prompt == prompt
    main = [next(iter(TASKS[name].score(text, example).values())) for text in (right, wrong)]
    assert main == [1, 0]
    if not name.startswith("pixmo"):
        assert example.rgb().shape == (30, 40, 3)


def test_diagrams_with_letters_of_their_own_list_options_without(tmp_path):
    official("ai2d", tmp_path)
    options = {"answerTexts": ["A", "C"], "correctAnswer": 1, "abcLabel": True}
    write_picture(tmp_path / "abc_images" / "5.png", 9)
    file = tmp_path / "questions" / "5.png.json"
    file.write_text(json.dumps({"questions": {"Which?": options}}))
    example = only("ai2d", tmp_path)
    assert example.prompt == "ai2_diagram_no_letter: Which?\nA\nC\n"
    assert example.rgb()[0, 0].tolist() == [9, 9, 9]
    assert TASKS["ai2d"].score("C", example) == {"accuracy": 1}


def test_open_exam_questions_are_judged_by_what_the_answer_holds(tmp_path):
    row = {
        "id": "validation_Math_1",
        "question": "How long? <image 1>",
        "options": "[]",
        "answer": "['12', 'twelve']",
        "image_1": PICTURE,
    }
    write_parquet(tmp_path / "Math" / "validation-0.parquet", [row], ("image_1",))
    example = only("mmmu", tmp_path)
    assert example.prompt == "vqa2: How long?"
    assert TASKS["mmmu"].score("It is 12.", example) == {"accuracy": 1}


def test_mathematics_with_choices_is_answered_by_a_letter(tmp_path):
    published("math_vista", tmp_path, choices=["1.25", "1.5"], answer_type="text")
    example = only("math_vista", tmp_path)
    assert example.prompt == "a_okvqa_mc: How long?\nA: 1.25\nB: 1.5\n"
    assert TASKS["math_vista"].score("A", example) == {"accuracy": 1}


@pytest.mark.parametrize(
    ("name", "column"),
    [("pixmo_points", "masks"), ("chart_qa", "label"), ("clocks", "hour_visible")],
)
def test_a_missing_column_is_named_with_its_row(name, column, tmp_path):
    published(name, tmp_path, **{column: None})
    with pytest.raises(TaskError, match=f"row 0: no column '{column}'"):
        only(name, tmp_path)


def test_masks_that_do_not_fit_the_points_are_refused(tmp_path):
    published("pixmo_points", tmp_path, masks=[MASK, MASK])
    with pytest.raises(TaskError, match=r"row 0: masks must be .* one for each of 1 points"):
        only("pixmo_points", tmp_path)


def test_clocks_without_pictures_say_that_they_are_to_be_rendered(tmp_path):
    published("clocks", tmp_path, image=None)
    with pytest.raises(TaskError, match="render them"):
        only("clocks", tmp_path)


def test_what_is_absent_has_no_points_and_no_masks(tmp_path):
    rows = [ROWS["pixmo_points"], ROWS["pixmo_points"] | {"points": [], "masks": []}]
    write_parquet(tmp_path / "test-0.parquet", rows)
    _, absent = TASKS["pixmo_points"].examples(tmp_path, None, 0)
    assert TASKS["pixmo_points"].score("There are none.", absent)["f1"] == 1
    assert TASKS["pixmo_points"].score(ASKED["pixmo_points"][1], absent)["f1"] == 0


def test_pictures_of_the_web_are_taken_from_the_folder_by_the_hash_of_their_url(tmp_path):
    published("pixmo_points", tmp_path)
    kept = tmp_path / "images" / hashlib.sha256(URL.encode()).hexdigest()
    kept.parent.mkdir()
    kept.write_bytes(PICTURE)
    assert only("pixmo_points", tmp_path).rgb()[0, 0].tolist() == [7, 7, 7]


@pytest.fixture
def web(tmp_path):
    """A server of files; its address."""
    (tmp_path / "web").mkdir()
    handler = partial(Quiet, directory=str(tmp_path / "web"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


def test_pictures_of_the_web_are_fetched_and_checked(tmp_path, web):
    (tmp_path / "web" / "a.png").write_bytes(PICTURE)
    published("pixmo_points", tmp_path, image_url=f"{web}/a.png")
    assert only("pixmo_points", tmp_path).rgb().shape == (30, 40, 3)
    (tmp_path / "web" / "a.png").write_bytes(png(8))
    with pytest.raises(PictureError, match="another file"):
        only("pixmo_points", tmp_path).rgb()
    (tmp_path / "web" / "a.png").unlink()
    with pytest.raises(PictureError, match="cannot be fetched"):
        only("pixmo_points", tmp_path).rgb()


def test_only_the_web_is_fetched(tmp_path):
    published("pixmo_count", tmp_path, image_url=f"file://{tmp_path}/a.png")
    with pytest.raises(PictureError, match="only http"):
        only("pixmo_count", tmp_path).rgb()


def test_copies_as_the_hub_converted_them_are_read_and_other_splits_are_not(tmp_path):
    row = {"image": PICTURE, "question": "What?", "answers": ["stop"]}
    write_parquet(tmp_path / "default" / "validation" / "0000.parquet", [row], ("image",))
    write_parquet(tmp_path / "default" / "train" / "0000.parquet", [row], ("image",))
    assert only("okvqa", tmp_path).question == "What?"
    with pytest.raises(TaskError, match="--revision refs/convert/parquet"):
        find_task("okvqa").examples(tmp_path / "default" / "train", None, 0)


def test_what_datasets_saved_is_read_too(tmp_path):
    table = datasets.Dataset.from_list([ROWS["pixmo_count"]])
    table.save_to_disk(str(tmp_path / "saved"))
    assert only("pixmo_count", tmp_path / "saved").number == 3


def test_rows_are_drawn_by_the_seed_and_keep_their_ids(tmp_path):
    rows = [ROWS["pixmo_count"] | {"count": count} for count in range(50)]
    write_parquet(tmp_path / "test-0.parquet", rows)
    task = TASKS["pixmo_count"]
    few, more = (list(task.examples(tmp_path, n, 3)) for n in (5, 20))
    assert [int(one.id) for one in few] == [one.number for one in few]
    assert {one.id for one in few} < {one.id for one in more}
    assert [one.id for one in task.examples(tmp_path, 5, 4)] != [one.id for one in few]
    assert chosen(50, None, 3).tolist() == list(range(50))


@pytest.mark.parametrize("name", ["vqa2", "ai2d", "countbench"])
def test_benchmarks_of_files_say_what_to_put_where(name, tmp_path):
    with pytest.raises(TaskError, match=r"needs --data DIR with .*\("):
        find_task(name).examples(None, None, 0)
    with pytest.raises(TaskError, match="Wanted: .*json|Wanted: questions/"):
        find_task(name).examples(tmp_path, None, 0)


def test_a_folder_without_the_benchmark_says_how_to_get_it(tmp_path):
    with pytest.raises(TaskError, match="hf download HuggingFaceM4/ChartQA"):
        find_task("chart_qa").examples(tmp_path, None, 0)


def test_tasks_are_found_by_their_published_names_too():
    assert find_task("pixmo-points-eval") is TASKS["pixmo_points"]
    with pytest.raises(TaskError, match=r"or one of\n  scenes +simulated tables"):
        find_task("imagenet")


def test_settings_are_the_published():
    assert {t.name for t in TASKS.values() if t.max_new_tokens == 192} == {
        "pixmo_points",
        "pixmo_count",
        "countbench",
    }
    reading = "text_vqa a_okvqa_mc a_okvqa_da chart_qa doc_qa info_qa ai2d real_world_qa mmmu"
    assert {t.name for t in TASKS.values() if t.max_crops == 36} == {
        *reading.split(),
        "math_vista",
    }
    assert np.unique([t.max_crops for t in TASKS.values() if t.max_crops]).tolist() == [12, 36]
