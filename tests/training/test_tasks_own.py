"""A robot's own pictures and questions: percent, pixels, words and counts; mistakes are named."""

from __future__ import annotations

import json

import pytest
from PIL import Image
from published import write_picture

from molmo_training.tasks import find_task
from molmo_training.tasks_example import TaskError

LINES = [
    {"image": "a.png", "prompt": "Point to the mug.", "percent": [[50.0, 50.0]]},
    {"image": "a.png", "label": "Mugs", "points": [[9.5, 14.5], {"x": 19.5, "y": 14.5}]},
    {"image": "a.png", "question": "Is it open?", "answer": ["yes", "it is open"]},
    {"image": "a.png", "prompt": "How many?", "count": 2},
    {"image": "a.png", "prompt": "Point to the cat.", "points": []},
    {"image": "a.png", "label": "mugs", "points": [[1, 1], [9, 9], [20, 20]], "count": True},
]


def write(folder, lines):
    write_picture(folder / "a.png")  # 40 x 30
    (folder / "data.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    return find_task(str(folder))


def test_lines_become_questions_with_truth(tmp_path):
    task = write(tmp_path, LINES)
    point, pixels, words, count, absent, counted = task.examples(None, None, 0)
    assert [point.prompt, pixels.prompt] == ["Point to the mug.", "Point to the mugs."]
    assert pixels.points == ((25.0, 50.0), (50.0, 50.0))
    assert point.rgb().shape == (30, 40, 3)
    mug = '<point x="51.0" y="50.0" alt="mug">mug</point>'
    assert task.score(mug, point) == {"f1": 1, "precision": 1, "recall": 1}
    assert task.score(mug, pixels) == {"f1": pytest.approx(2 / 3), "precision": 1, "recall": 0.5}
    assert task.score("Yes.", words) == {"answer": 1}
    assert task.score("no", words) == {"answer": 0}
    assert task.score("a total of 3.", count) == {"count": 0, "count_close": 1}
    assert task.score("There are none.", absent)["f1"] == 1
    assert task.score(mug, absent)["f1"] == 0
    assert counted.prompt == "How many mugs are there?"
    assert task.score("a total of 3.", counted) == {"count": 1, "count_close": 1}


def test_a_file_is_named_as_well_as_its_folder(tmp_path):
    write(tmp_path, LINES)
    assert len(find_task(str(tmp_path / "data.jsonl")).examples(None, 2, 0)) == 2


def test_pixels_are_those_of_the_picture_as_it_is_shown(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.new("RGB", (40, 30)).save(tmp_path / "turned.jpg", exif=exif)
    task = write(tmp_path, [{"image": "turned.jpg", "label": "mug", "points": [[14.5, 39]]}])
    [example] = task.examples(None, None, 0)
    assert example.size == (30, 40)
    assert example.points == ((50.0, 98.75),)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 1: is no JSON"),
        ("[]", 'line 1: wanted an object with "image"'),
        ('{"image": "a.png", "prompt": "?"}', "line 1: wanted one of points, percent, answer"),
        ('{"image": "a.png", "prompt": "?", "points": [], "answer": "a"}', "line 1: wanted one"),
        ('{"image": "a.png", "count": 1}', "line 1: wanted a prompt, or the label"),
        ('{"image": "a.png", "prompt": "?", "count": true}', "line 1: count is a whole number"),
        ('{"image": "a.png", "label": "a", "points": [], "count": 2}', "line 1: beside points"),
        ('{"image": "a.png", "prompt": "?", "answer": []}', "line 1: answer is a text"),
        ('{"image": "a.png", "label": "a", "points": [1, 2]}', "line 1: points are a list"),
        ('{"image": "a.png", "label": "a", "percent": [[26, 101]]}', "goes up to 100"),
        ('{"image": "a.png", "label": "a", "points": [[39, 31]]}', "picture of 40 x 30"),
        ('{"image": "b.png", "label": "a", "points": []}', r"line 1: .*b\.png: cannot be read"),
        ("", "data.jsonl: is empty"),
    ],
)
def test_a_mistake_is_named_with_its_line(line, said, tmp_path):
    write_picture(tmp_path / "a.png")
    (tmp_path / "data.jsonl").write_text(line)
    with pytest.raises(TaskError, match=said):
        find_task(str(tmp_path))


def test_a_folder_without_lines_is_refused(tmp_path):
    with pytest.raises(TaskError, match=r"data\.jsonl: is not there"):
        find_task(str(tmp_path))
