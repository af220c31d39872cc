import numpy as np
import pytest
from surfaces import unit

from molmo_ros.planes import Plane, find_dominant_plane, fit_plane

NORMAL = unit(0.1, -0.7, -0.7)


def scattered(n, seed=0):
    """Directions (N, 3) all over a picture of 65 degrees."""
    xy = np.random.default_rng(seed).uniform(-0.64, 0.64, (n, 2))
    return np.column_stack([xy, np.ones(n)])


def test_a_plane_is_what_its_numbers_say():
    plane = Plane(np.array([0, 0, -1.0]), 2.0)
    np.testing.assert_allclose(plane.heights(np.array([[1, 1, 2.0], [0, 0, 1.5]])), [0, 0.5])
    np.testing.assert_allclose(plane.depths(np.array([[0.3, 0.1, 1]])), [2])


def test_a_ray_that_never_meets_the_plane_has_no_depth():
    ceiling = Plane(np.array([0, 1.0, 0]), 1.0)  # y = -1, seen from below
    np.testing.assert_array_equal(ceiling.depths(np.array([[0, 0, 1], [0, 0.5, 1]])), np.inf)


def test_fitting_undoes_seeing():
    plane = Plane(NORMAL, 0.6)
    rays = scattered(50)
    fitted = fit_plane(rays, plane.depths(rays))
    np.testing.assert_allclose(fitted.normal, NORMAL, atol=1e-9)
    assert fitted.offset_m == pytest.approx(0.6)


def test_the_dominant_plane_is_found_among_things_that_stand_on_it():
    plane = Plane(NORMAL, 0.6)
    rays = scattered(1000)
    depth = plane.depths(rays)
    keep = depth < 1.5
    rays, depth = rays[keep], depth[keep]
    rng = np.random.default_rng(1)
    things = rng.random(len(depth)) < 0.4
    depth[things] -= rng.uniform(0.02, 0.2, things.sum())
    depth += rng.normal(0, 0.001, len(depth))
    found = find_dominant_plane(rays, depth)
    assert np.degrees(np.arccos(found.normal @ NORMAL)) < 0.5
    assert found.offset_m == pytest.approx(0.6, abs=0.002)


def test_a_cloud_without_a_plane_has_none():
    rng = np.random.default_rng(2)
    assert find_dominant_plane(scattered(1000), rng.uniform(0.3, 3, 1000)) is None


def test_too_few_points_have_no_plane():
    assert find_dominant_plane(scattered(10), np.ones(10)) is None


def test_the_same_picture_always_has_the_same_plane():
    rng = np.random.default_rng(3)
    rays, depth = scattered(500), 1 + rng.normal(0, 0.003, 500)
    first, second = (find_dominant_plane(rays, depth) for _ in range(2))
    np.testing.assert_array_equal(first.normal, second.normal)
