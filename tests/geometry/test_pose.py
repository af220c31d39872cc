import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from molmo_ros.pose import (
    approach_axes,
    position_covariance,
    quaternion,
    rotate_covariance,
    rotation_covariance,
    rotation_matrix,
)

component = st.floats(-1, 1)
vectors = arrays(np.float64, 3, elements=component).filter(lambda v: np.linalg.norm(v) > 0.1)
quaternions = arrays(np.float64, 4, elements=component).filter(lambda q: np.linalg.norm(q) > 0.1)


@given(quaternions)
def test_a_quaternion_survives_its_matrix(q):
    q = q / np.linalg.norm(q)
    again = quaternion(rotation_matrix(q))
    assert abs(q @ again) == pytest.approx(1, abs=1e-6)  # q and -q are the same rotation


@pytest.mark.parametrize("axis", range(3))
def test_half_a_turn_has_a_quaternion(axis):
    q = np.zeros(4)
    q[axis] = 1
    assert abs(quaternion(rotation_matrix(q)) @ q) == pytest.approx(1)


def test_a_quarter_turn_about_z_is_as_by_hand():
    matrix = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    np.testing.assert_allclose(quaternion(matrix), [0, 0, 0.5**0.5, 0.5**0.5])


@given(vectors, vectors)
def test_approach_axes_are_a_rotation_with_z_into_the_surface(normal, along):
    normal, along = normal / np.linalg.norm(normal), along / np.linalg.norm(along)
    axes = approach_axes(normal, along)
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-6)
    assert np.linalg.det(axes) == pytest.approx(1)
    np.testing.assert_allclose(axes[:, 2], -normal)
    assert axes[:, 0] @ along >= -1e-6


def test_edge_on_along_x_the_image_y_is_taken():
    axes = approach_axes(np.array([-1.0, 0, 0]), np.array([1.0, 0, 0]))
    np.testing.assert_allclose(axes[:, 0], [0, 1, 0])


def test_a_depth_error_goes_along_the_ray():
    position = np.array([1.0, 0, 2])
    covariance = position_covariance(position, np.array([0, 0, -1.0]), np.zeros((3, 2)), 0.01)
    np.testing.assert_allclose(covariance, 1e-4 * np.outer([0.5, 0, 1], [0.5, 0, 1]))


def test_a_pixel_error_equals_the_move_on_the_plane():
    normal = np.array([0.6, 0, -0.8])
    position = np.array([0.2, -0.1, 1.0])
    small = 1e-6
    directions = position / position[2] + np.array([[small, 0, 0], [0, small, 0]])
    moved = directions * ((normal @ position) / (directions @ normal))[:, None] - position
    covariance = position_covariance(position, normal, small * np.eye(3)[:, :2], 0.0)
    np.testing.assert_allclose(covariance, moved.T @ moved, rtol=1e-4, atol=1e-18)


def test_a_normal_that_is_loose_in_x_tilts_about_y():
    loose = np.diag([0.01, 0, 0])
    covariance = rotation_covariance(np.array([0, 0, -1.0]), loose, 10.0)
    np.testing.assert_allclose(covariance, np.diag([0, 0.01, np.pi**2 / 1200]), atol=1e-12)


def test_turning_a_covariance_turns_both_halves():
    quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    turned = rotate_covariance(np.diag([1.0, 2, 3, 4, 5, 6]), quarter)
    np.testing.assert_allclose(turned, np.diag([2.0, 1, 3, 5, 4, 6]))
