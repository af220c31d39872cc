"""The training set from simulated scenes: truth that fits the pictures, mirrored or not."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="needs mujoco for the scenes")

from molmo_model.points import parse_points
from molmo_sim.questions import Question
from molmo_training.augment import (
    mirror_answer,
    mirror_cells,
    mirror_crop,
    mirror_objects,
    relight,
)
from molmo_training.recipe_tiny import tiny_config
from molmo_training.scenes import SceneSet, answer_of, cells_of, render_scenes

CONFIG = tiny_config(256)
SIDE = CONFIG.crops.pooled_per_side


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return render_scenes(tmp_path_factory.mktemp("scenes"), SceneSet(count=4), CONFIG, 1)


def test_a_training_set_is_rendered_once(scenes, tmp_path):
    first = render_scenes(tmp_path, SceneSet(count=2), CONFIG, 1)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    again = render_scenes(tmp_path, SceneSet(count=2), CONFIG, 1)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == written
    assert again.truths == first.truths
    assert again.truths == scenes.truths[:2]  # a scene depends on its number alone


def test_a_directory_of_other_scenes_is_refused(tmp_path):
    render_scenes(tmp_path, SceneSet(count=1), CONFIG, 1)
    with pytest.raises(ValueError, match="holds other scenes"):
        render_scenes(tmp_path, SceneSet(count=1, seed=5), CONFIG, 1)


def test_objects_lie_in_cells_that_show_them(scenes):
    for truth, cells in zip(scenes.truths, scenes.cells, strict=True):
        for number, (_, _, x, y) in enumerate(truth.objects):
            # 640 x 480 is fitted into a square: rows keep their scale, below an eighth of padding.
            column, row = int(x / 100 * SIDE), int((0.125 + y / 100 * 0.75) * SIDE)
            assert number == cells[row * SIDE + column]


def test_a_cell_names_the_object_that_covers_most_of_it():
    segments = np.full((480, 640), -1, np.int16)
    segments[200:260, 170:230] = 0  # both lie in the cell of column 2, row 3
    segments[200:230, 232:238] = 1
    cells = cells_of(segments, CONFIG).reshape(SIDE, SIDE)
    assert cells[3, 2] == 0
    assert set(np.unique(cells)) == {-1, 0}


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (("point", "cubes", ((10.0, 20.0),), ""), '<point x="10.0" y="20.0" alt="cubes">cubes'),
        (("count", "cubes", ((10.0, 20.0), (30.0, 5.0)), ""), "shows a total of 2."),
        (("point", "cubes", (), "There are none."), "There are none."),
    ],
)
def test_answers_are_written_as_molmo_writes_them(question, answer):
    kind, label, points, text = question
    asked = Question(
        kind=kind, prompt="?", label=label, points=points, count=len(points), text=text
    )
    assert answer in answer_of(asked)


def test_a_mirror_turns_places_cells_and_pixels_alike(scenes):
    truth = scenes.truths[0]
    for (_, _, x, y), (_, _, u, v) in zip(
        truth.objects, mirror_objects(truth.objects), strict=True
    ):
        assert (u, v) == (100 - x, y)
    for kind, _, answer in truth.questions:
        xs = sorted(100 - point.x for point in parse_points(answer))
        mirrored = mirror_answer(kind, answer)
        assert [point.x for point in parse_points(mirrored)] == pytest.approx(xs, abs=0.051)
        assert mirror_answer(kind, mirrored) == answer
    cells = scenes.cells[0]
    assert np.array_equal(mirror_cells(mirror_cells(cells, CONFIG.crops), CONFIG.crops), cells)
    crop = scenes.crops(np.array([0]))[0]
    patches = crop.reshape(16, 16, 14, 14, 3)
    flipped = mirror_crop(crop, CONFIG.crops).reshape(16, 16, 14, 14, 3)
    assert np.array_equal(flipped[5, 0, 3, 0], patches[5, 15, 3, 13])


def test_another_light_changes_every_pixel_a_little(scenes):
    crop = scenes.crops(np.array([0]))[0]
    lit = relight(crop, np.random.default_rng(1))
    assert not np.array_equal(lit, crop)
    assert np.corrcoef(lit.ravel(), crop.ravel())[0, 1] > 0.98
