"""`molmo frames` as it is called: what it prints and leaves behind, and how it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="no ROS 2 here")
pytest.importorskip("molmo_ros.msg", reason="the interfaces are not built")

from recordings import FIRST_NS, IMAGE, shot, write_bag

BUNDLE = Path(__file__).parents[2] / "assets" / "molmo-tiny" / "bundle"


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A recording of one simulated table, seen four times in three seconds."""
    entries = [one for s in range(4) for one in shot(37, FIRST_NS + s * 1_000_000_000)]
    return write_bag(tmp_path_factory.mktemp("recorded") / "table", entries)


def rows(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_pictures_wait_for_their_labels_and_are_then_evaluated(molmo, table, tmp_path):
    shelf = tmp_path / "shelf"
    status, out, _ = molmo("frames", table, shelf, "--label", "red cube", "--test", "0.5")
    assert status == 0
    assert f"4 pictures of {IMAGE}: {shelf / 'table'}" in out
    assert f"2 lines: {shelf / 'data.jsonl'}" in out
    assert f"2 lines: {shelf / 'test.jsonl'}" in out
    status, _, err = molmo("eval", BUNDLE, shelf / "test.jsonl")
    assert status == 1 and "none of its 2 lines is labelled yet" in err
    first, second = rows(shelf / "test.jsonl")
    lines = [json.dumps(first | {"points": [[320, 240]]}), json.dumps(second)]
    (shelf / "test.jsonl").write_text("\n".join(lines))
    status, out, _ = molmo("eval", BUNDLE, shelf / "test.jsonl", "--json")
    assert status == 0
    assert json.loads(out)["n"] == 1


def test_labels_are_taken_with_their_pictures(molmo, table, tmp_path):
    labels = tmp_path / "labels.jsonl"
    labels.write_text('{"frame": 2, "label": "dog", "points": []}\n')
    status, out, _ = molmo("frames", table, tmp_path / "shelf", "--labels", labels)
    assert status == 0 and "1 pictures" in out
    (line,) = rows(tmp_path / "shelf" / "data.jsonl")
    assert (line["image"], line["points"]) == ("table/000002.png", [])


def test_what_somebody_labelled_is_not_written_again(molmo, table, tmp_path):
    molmo("frames", table, tmp_path, "--label", "mug")
    (tmp_path / "data.jsonl").write_text("by hand")
    status, _, err = molmo("frames", table, tmp_path, "--label", "mug")
    assert status == 1
    assert "is there already" in err and len(err.splitlines()) == 1
    assert (tmp_path / "data.jsonl").read_text() == "by hand"


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ({"frame": 9, "points": []}, "line 1: there is no frame 9"),
        ({"frame": 1, "points": [[700, 2]]}, "outside of the picture of 640 x 480"),
        ({"frame": 1, "answer": "yes"}, "line 1: wanted a prompt"),
        ({"frame": 1, "point": [[7, 2]]}, "line 1: wanted one of points, percent"),
    ],
)
def test_labels_that_are_wrong_are_named(molmo, table, tmp_path, label, said):
    labels = tmp_path / "labels.jsonl"
    labels.write_text(json.dumps({"label": "mug"} | label))
    status, _, err = molmo("frames", table, tmp_path / "shelf", "--labels", labels)
    assert status == 1
    assert err.startswith(f"molmo: {labels}, line 1: ") and said in err
    assert not (tmp_path / "shelf" / "data.jsonl").exists()


def test_a_topic_that_is_not_there_is_named(molmo, table, tmp_path):
    status, _, err = molmo("frames", table, tmp_path / "shelf", "--image", "/gripper")
    assert status == 1
    assert f"no image topic /gripper (found: {IMAGE}" in err


@pytest.mark.parametrize(
    "wrong", [["no-such"], [__file__, "x", "--labels", "no-such"], [__file__, "x", "--test", "1"]]
)
def test_misuse_ends_with_2(molmo, wrong):
    assert molmo("frames", *wrong)[0] == 2
