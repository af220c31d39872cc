"""Simulated scenes as a folder of our own data."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("mujoco", reason="needs MuJoCo to render")

from molmo_training.own_lines import read_lines
from molmo_training.scene_folder import write_scenes
from molmo_training.tasks import find_task


def test_scenes_of_a_new_colour_are_asked_about_it_alone(tmp_path):
    folder = write_scenes(tmp_path / "data", "pink", [(9, i) for i in range(6)], "pink")
    lines = read_lines(folder)
    assert all("pink" in line.label and line.label in line.prompt for line in lines)
    assert {line.points == () for line in lines} == {True, False}
    assert {line.count is None for line in lines} == {True, False}
    for line in lines:
        rgb = np.array(Image.open(line.image)).astype(int)
        for x, y in line.points:
            r, g, b = rgb[round(y / 100 * 480 - 0.5), round(x / 100 * 640 - 0.5)]
            assert r > b > g, (line.image, line.label)  # lit as it may be


def test_scenes_are_added_to_those_that_are_there(tmp_path):
    write_scenes(tmp_path, "pink", [(9, 0)], "pink")
    before = (tmp_path / "data.jsonl").read_text()
    write_scenes(tmp_path, "old", [(9, 0)])
    both = (tmp_path / "data.jsonl").read_text()
    assert both.startswith(before)
    added = [json.loads(line) for line in both[len(before) :].splitlines()]
    assert {line["image"] for line in added} == {"old/0000.png"}
    assert not any("pink" in line["label"] for line in added)
    assert len(find_task(str(tmp_path)).examples(None, None, 0)) == len(both.splitlines())
    with pytest.raises(FileExistsError):
        write_scenes(tmp_path, "old", [(9, 0)])
