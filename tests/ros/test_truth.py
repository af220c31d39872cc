"""The demo's own yardstick must be right, or its errors mean nothing."""

from collections import Counter

import numpy as np
import pytest

from molmo_ros.cell.truth import Truth

SEED = 5


@pytest.fixture(scope="module")
def truth():
    return Truth(SEED)


def surface_point(truth, index):
    """The point of a sphere that is nearest to the camera, in the optical frame; and inwards."""
    thing, pose = truth.scene.objects[index], truth.scene.camera.pose
    centre = pose[:3, :3].T @ (np.array(thing.position_m) - pose[:3, 3])
    inwards = centre / np.linalg.norm(centre)
    return centre - inwards * thing.size_m[0] / 2, inwards


def sphere_of(truth):
    shapes = [thing.shape for thing in truth.scene.objects]
    return shapes.index("sphere")


def test_a_point_on_the_surface_misses_by_nothing_and_one_before_it_by_its_distance(truth):
    index = sphere_of(truth)
    name = truth.scene.objects[index].name
    point, inwards = surface_point(truth, index)
    assert truth.miss(point, name).surface_mm < 1.0  # pixels are a millimetre apart
    assert truth.miss(point - 0.02 * inwards, name).surface_mm == pytest.approx(20, abs=0.5)
    assert truth.miss(point, name).centre_mm < 3.0  # the nearest point is nearly the middle


def test_the_miss_is_measured_to_the_object_that_the_label_names(truth):
    for index, thing in enumerate(truth.scene.objects):
        other = truth.scene.objects[index - 1]
        pose = truth.scene.camera.pose
        at_other = pose[:3, :3].T @ (np.array(other.position_m) - pose[:3, 3])
        miss = truth.miss(at_other, thing.name)
        assert miss.name == thing.name
        if thing.name != other.name:
            gap_mm = 1e3 * np.linalg.norm(np.subtract(thing.position_m, other.position_m))
            assert miss.surface_mm > gap_mm - 1e3 * thing.radius_m - 1


def test_a_label_that_fits_nothing_has_no_miss(truth):
    present = {thing.name for thing in truth.scene.objects}
    assert "white cube" not in present
    assert truth.miss(np.zeros(3), "white cube") is None
    assert truth.miss(np.zeros(3), "coffee cup") is None


def test_the_questions_are_about_what_is_there():
    for seed in range(20):
        truth = Truth(seed)
        point, count, describe = truth.questions()
        names = Counter(thing.name for thing in truth.scene.objects)
        asked = point.removeprefix("Point to the ").removesuffix(".")
        assert names[asked] == 1 or names[asked.removesuffix("s")] > 1
        shape = count.removeprefix("How many ").removesuffix("s are there?")
        assert shape in {thing.shape for thing in truth.scene.objects}
        assert describe == "Describe the table."


def test_the_visible_centre_lies_on_the_hull_of_its_object(truth):
    pose = truth.scene.camera.pose
    for thing in truth.scene.objects:
        centre = pose[:3, :3].T @ (np.array(thing.position_m) - pose[:3, 3])
        radius_mm = 1e3 * thing.radius_m
        assert 0.3 * radius_mm < truth.miss(centre, thing.name).centre_mm < radius_mm + 1
