import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from surfaces import CAMERA, directions, plane_depth, unit, wall

from molmo_ros.depth import find_surface
from molmo_ros.noise import STEREO

MIDDLE = (320.0, 240.0)


def noisy(depth, seed=0):
    noise = np.random.default_rng(seed).standard_normal(depth.shape)
    return (depth + noise * STEREO.sigma_m(depth)).astype(np.float32)


def degrees_between(a, b):
    return np.degrees(np.arccos(np.clip(a @ b, -1, 1)))


def hole(depth, half, at=(320, 240)):
    u, v = at
    depth[v - half : v + half + 1, u - half : u + half + 1] = np.nan
    return depth


def step_at(column, near=0.6, far=0.7):
    """A wall, and a nearer one left of a column."""
    depth = wall(far)
    depth[:, :column] = near
    return depth


def test_a_wall_is_seen_exactly():
    surface = find_surface(wall(1.0), MIDDLE, CAMERA)
    assert surface.depth_m == pytest.approx(1.0, abs=1e-6)
    np.testing.assert_allclose(surface.plane.normal, [0, 0, -1], atol=1e-5)
    assert surface.plane.offset_m == pytest.approx(1.0, abs=1e-6)
    assert surface.spread_m < 1e-6
    assert (surface.valid_fraction, surface.bimodal) == (1.0, False)
    assert surface.window == 15  # +-7 pixels of a Kinect, here f = 500


@pytest.mark.parametrize("degrees", [30, 60, 75])
def test_a_slanted_plane_keeps_depth_and_normal(degrees):
    normal = np.array([np.sin(np.radians(degrees)), 0, -np.cos(np.radians(degrees))])
    depth = plane_depth(normal, (0, 0, 0.8))
    surface = find_surface(depth, (320.4, 240.0), CAMERA)
    # the plane's own depth between two pixels, 0.4 of a pixel to the right
    expected = normal @ (0, 0, 0.8) / (normal @ (0.4 / 500, 0, 1))
    assert surface.depth_m == pytest.approx(expected, abs=1e-5)
    assert degrees_between(surface.plane.normal, normal) < 0.1


def test_noise_is_averaged_and_its_size_is_reported():
    normal = unit(0.3, -0.5, -0.8)
    truth = plane_depth(normal, (0, 0, 0.8))
    surfaces = [find_surface(noisy(truth, seed), MIDDLE, CAMERA) for seed in range(30)]
    errors = np.array([surface.depth_m for surface in surfaces]) - 0.8
    sigma = float(STEREO.sigma_m(0.8))
    assert errors.std() < sigma / 2  # a median of 25 has a quarter of the noise of one
    assert np.median([s.spread_m for s in surfaces]) == pytest.approx(sigma, rel=0.2)
    angles = [degrees_between(s.plane.normal, normal) for s in surfaces]
    assert np.median(angles) < 3


def test_the_error_stays_within_what_is_claimed():
    truth = wall(0.8)
    surfaces = [find_surface(noisy(truth, seed), MIDDLE, CAMERA) for seed in range(40)]
    z = np.array([(s.depth_m - 0.8) / s.depth_sigma_m for s in surfaces])
    assert np.abs(z).max() < 3
    tilt = np.array([s.plane.normal[0] / s.normal_covariance[0, 0] ** 0.5 for s in surfaces])
    assert np.abs(tilt).max() < 3


@pytest.mark.parametrize(("u", "expected"), [(318, 0.6), (319, 0.6), (320, 0.7), (321, 0.7)])
def test_depth_is_never_averaged_across_an_edge(u, expected):
    surface = find_surface(step_at(320), (u, 240), CAMERA)
    assert surface.depth_m == pytest.approx(expected, abs=1e-5)
    assert surface.bimodal
    # nearly even odds between two depths 0.1 m apart
    assert 0.03 < surface.depth_sigma_m < 0.06


def test_what_lies_behind_an_edge_does_not_matter():
    near, far = (find_surface(noisy(step_at(323, far=far)), MIDDLE, CAMERA) for far in (0.7, 2.0))
    assert near.depth_m == far.depth_m
    np.testing.assert_array_equal(near.plane.normal, far.plane.normal)


def test_far_from_edges_nothing_is_bimodal():
    assert not find_surface(step_at(320), (300, 240), CAMERA).bimodal


def test_at_a_crease_the_normal_is_that_of_the_pixels_own_face():
    left, right = unit(-0.6, 0, -0.8), unit(0.6, 0, -0.8)
    depth = np.fmax(plane_depth(left, (0, 0, 0.7)), plane_depth(right, (0, 0, 0.7)))
    surface = find_surface(depth, (315, 240), CAMERA)
    expected = left if depth[240, 315] == plane_depth(left, (0, 0, 0.7))[240, 315] else right
    # the other face leans 74 degrees away; its first pixels hide in the noise that is allowed for
    assert degrees_between(surface.plane.normal, expected) < 3


def test_outliers_do_not_move_the_surface():
    depth = wall(0.8)
    rng = np.random.default_rng(1)
    wild = rng.random(depth.shape) < 0.1
    depth[wild] += rng.uniform(-0.3, 0.3, wild.sum()).astype(np.float32)
    depth[240, 320] = 0.8
    surface = find_surface(depth, MIDDLE, CAMERA)
    assert surface.depth_m == pytest.approx(0.8, abs=1e-4)
    assert degrees_between(surface.plane.normal, np.array([0, 0, -1])) < 0.5


def test_a_ball_is_touched_on_its_surface():
    centre, radius = np.array([0, 0, 0.7]), 0.03
    rays = directions()
    b, a = rays @ centre, (rays**2).sum(axis=2)
    root = b**2 - a * (centre @ centre - radius**2)
    depth = np.where(root >= 0, (b - np.sqrt(np.maximum(root, 0))) / a, 0.8).astype(np.float32)
    for u in (320, 330):
        surface = find_surface(depth, (u, 240), CAMERA)
        assert surface.depth_m == pytest.approx(float(depth[240, u]), abs=2e-4)
        outward = unit(*(rays[240, u] * depth[240, u] - centre))
        # the window spans 35 degrees of the ball
        assert degrees_between(surface.plane.normal, outward) < 3


@pytest.mark.parametrize("half", [0, 1, 2])
def test_a_small_hole_is_bridged_by_the_surface_around_it(half):
    normal = unit(0.4, 0.2, -0.9)
    whole = plane_depth(normal, (0, 0, 0.8))
    expected = find_surface(whole, MIDDLE, CAMERA)
    surface = find_surface(hole(whole.copy(), half), MIDDLE, CAMERA)
    assert surface.depth_m == pytest.approx(0.8, abs=1e-5)
    assert degrees_between(surface.plane.normal, normal) < 0.1
    assert surface.valid_fraction < 1
    assert surface.depth_sigma_m > expected.depth_sigma_m


def test_a_large_hole_may_be_a_whole_dark_thing_and_is_not_bridged():
    assert find_surface(hole(wall(0.8), 9), MIDDLE, CAMERA) is None


def test_a_hole_between_two_surfaces_belongs_to_neither():
    assert find_surface(hole(step_at(320), 2), MIDDLE, CAMERA) is None


def test_a_hole_at_the_border_of_the_picture_is_not_extrapolated():
    assert find_surface(hole(wall(0.8), 2, at=(2, 240)), (0, 240), CAMERA) is None


def test_a_speck_in_a_hole_is_no_depth():
    depth = hole(wall(0.8), 2)
    depth[240, 320] = 0.5
    assert find_surface(depth, MIDDLE, CAMERA).depth_m == pytest.approx(0.8, abs=1e-5)


def test_a_thing_too_thin_to_be_measured_does_not_take_the_depth_behind_it():
    depth = wall(0.8)
    depth[:, 320] = 0.6
    assert find_surface(depth, MIDDLE, CAMERA) is None


def test_a_picture_without_depth_has_no_surface():
    assert find_surface(np.full((480, 640), np.nan, np.float32), MIDDLE, CAMERA) is None


def test_the_corner_of_the_picture_has_a_surface():
    surface = find_surface(wall(0.8), (639.5, -0.5), CAMERA)
    assert surface.depth_m == pytest.approx(0.8, abs=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    holes=st.floats(0, 1),
    near=st.floats(0.05, 5),
    deep=st.floats(0, 5),
)
def test_whatever_the_depth_is_the_surface_is_finite_or_none(seed, holes, near, deep):
    rng = np.random.default_rng(seed)
    depth = np.full((480, 640), np.nan, np.float32)
    patch = rng.uniform(near, near + deep, (60, 60)).astype(np.float32)
    patch[rng.random(patch.shape) < holes] = np.nan
    depth[:60, :60] = patch
    surface = find_surface(depth, tuple(rng.uniform(0, 60, 2)), CAMERA)
    if surface is not None:
        assert 0 < surface.depth_m < np.inf
        assert 0 < surface.depth_sigma_m < np.inf
        assert np.linalg.norm(surface.plane.normal) == pytest.approx(1)
        assert np.isfinite(surface.normal_covariance).all()
