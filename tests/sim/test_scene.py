from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from molmo_sim.scene import COLOURS, MAX_OBJECTS, NEW_COLOURS, SHAPES, repainted, sample_scene


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


def test_a_seed_gives_the_scene_that_it_always_gave():
    """Whoever trained or measured on a scene finds it again; of the first one of evaluation."""
    scene = sample_scene((2, 7, 0))
    assert [(thing.colour, thing.shape) for thing in scene.objects] == [
        ("orange", "cube"),
        ("green", "cube"),
        ("yellow", "cube"),
        ("red", "cube"),
        ("yellow", "cube"),
        ("red", "cube"),
    ]
    last = scene.objects[-1]
    assert last.position_m[:2] == pytest.approx((-0.135103, 0.028568), abs=1e-6)
    assert last.rgb == pytest.approx((0.846402, 0.117929, 0.108057), abs=1e-6)
    assert scene.camera.position_m == pytest.approx((-0.020182, 0.113077, 0.354040), abs=1e-6)


def test_repainting_changes_colours_alone():
    scenes = [sample_scene((5, index)) for index in range(40)]
    new = [repainted(scene, "pink", np.random.default_rng(i)) for i, scene in enumerate(scenes)]
    assert new[3] == repainted(scenes[3], "pink", np.random.default_rng(3))
    pink = 0
    for before, after in zip(scenes, new, strict=True):
        for old, thing in zip(before.objects, after.objects, strict=True):
            if thing.colour == "pink":
                assert np.abs(np.subtract(thing.rgb, NEW_COLOURS["pink"])).max() <= 0.04
                pink += 1
            assert replace(thing, colour=old.colour, rgb=old.rgb) == old
        assert replace(after, objects=before.objects) == before
    assert 0.4 < pink / sum(len(scene.objects) for scene in scenes) < 0.6


def test_a_new_colour_is_none_of_the_old_ones():
    for new in NEW_COLOURS.values():
        assert min(np.abs(np.subtract(new, old)).max() for old in COLOURS.values()) > 0.08
    assert not set(NEW_COLOURS) & set(COLOURS)
