from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from molmo_sim.scene import COLOURS, MAX_OBJECTS, SHAPES, sample_scene


def test_a_seed_gives_one_scene_and_another_seed_another():
    assert sample_scene((4, 2)) == sample_scene((4, 2))
    assert sample_scene(7) == sample_scene(7)
    assert sample_scene((4, 2)) != sample_scene((4, 3))


def test_every_colour_and_shape_and_number_of_objects_comes_up():
    scenes = [sample_scene((1, index)) for index in range(150)]
    assert {thing.colour for scene in scenes for thing in scene.objects} == set(COLOURS)
    assert {thing.shape for scene in scenes for thing in scene.objects} == set(SHAPES)
    assert {len(scene.objects) for scene in scenes} == set(range(1, MAX_OBJECTS + 1))


def test_kinds_repeat_within_scenes_so_that_there_is_something_to_count():
    most = [
        max(Counter(thing.shape for thing in sample_scene((2, index)).objects).values())
        for index in range(150)
    ]
    assert set(range(1, 7)) <= set(most)


@pytest.mark.parametrize("index", range(30))
def test_objects_rest_on_the_table_without_touching(index):
    scene = sample_scene((3, index))
    for thing in scene.objects:
        lies = thing.shape == "capsule" and thing.rotation[1] != 0
        height = thing.size_m[0] if lies else thing.size_m[2]
        assert thing.position_m[2] == pytest.approx(height / 2)
        assert np.all(np.abs(thing.position_m[:2]) + thing.radius_m <= scene.table.half_size_m)
        for other in scene.objects:
            gap = np.hypot(*np.subtract(thing.position_m, other.position_m)[:2])
            assert thing is other or gap > thing.radius_m + other.radius_m


def test_every_object_is_mostly_seen_and_clear_of_the_border(any_renderer):
    for index in range(25):
        scene = sample_scene((4, index))
        segments = any_renderer.render(scene).segments
        for place, thing in enumerate(scene.objects):
            alone = any_renderer.render(replace(scene, objects=(thing,))).segments == 0
            assert (segments == place).sum() >= 0.6 * alone.sum()
            assert not alone[[0, -1]].any() and not alone[:, [0, -1]].any()
