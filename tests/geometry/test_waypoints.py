import numpy as np
import pytest
from surfaces import CAMERA, directions, plane_depth, table_with_box, unit, wall

from molmo_ros.camera import CameraError
from molmo_ros.geometry import Status, find_support, locate, transform
from molmo_ros.pose import rotation_matrix

MIDDLE = (320.0, 240.0)
FROM_ABOVE = unit(0, -1, -1)  # a table, seen at 45 degrees
CELL_M = 0.005  # patches are measured on a grid


def degrees_between(a, b):
    return np.degrees(np.arccos(np.clip(a @ b, -1, 1)))


def test_a_pixel_is_lifted_as_by_hand():
    found = locate((420, 190), wall(2.0), CAMERA)
    assert found.status == Status.OK
    np.testing.assert_allclose(found.position, [0.4, -0.2, 2.0], atol=1e-6)
    np.testing.assert_allclose(found.ray, np.array([0.2, -0.1, 1]) / np.sqrt(1.05))
    assert found.depth_m == pytest.approx(2.0, abs=1e-6)


def test_a_point_between_pixels_lies_between_their_points():
    found = locate((420.5, 190.25), wall(2.0), CAMERA)
    np.testing.assert_allclose(found.position, [0.402, -0.199, 2.0], atol=1e-6)


def test_a_wall_ahead_has_the_axes_of_the_camera():
    found = locate(MIDDLE, wall(), CAMERA)
    np.testing.assert_allclose(found.normal, [0, 0, -1], atol=1e-5)
    np.testing.assert_allclose(found.quaternion, [0, 0, 0, 1], atol=1e-5)


def test_z_goes_into_the_surface_and_x_along_the_image():
    found = locate(MIDDLE, plane_depth(FROM_ABOVE, (0, 0, 0.8)), CAMERA)
    np.testing.assert_allclose(found.normal, FROM_ABOVE, atol=1e-4)
    # x stays, z turns down by 45 degrees: a rotation about x by -45 degrees
    expected = [-np.sin(np.pi / 8), 0, 0, np.cos(np.pi / 8)]
    np.testing.assert_allclose(found.quaternion, expected, atol=1e-4)
    axes = rotation_matrix(found.quaternion)
    np.testing.assert_allclose(axes[:, 2], -FROM_ABOVE, atol=1e-4)
    assert np.linalg.det(axes) == pytest.approx(1)


def test_without_camera_info_only_the_pixel_is_known():
    found = locate(MIDDLE, wall(), None)
    assert found.status == Status.NO_CAMERA_INFO
    assert np.isnan(found.ray).all()


@pytest.mark.parametrize("depth", [None, np.full((480, 640), np.nan, np.float32)])
def test_without_depth_only_the_ray_is_known(depth):
    found = locate((820 - 320, 240), depth, CAMERA)
    assert found.status == Status.NO_DEPTH
    np.testing.assert_allclose(found.ray, unit(180 / 500, 0, 1))
    for unknown in (found.position, found.normal, found.quaternion, found.covariance):
        assert np.isnan(unknown).all()
    assert np.isnan([found.depth_m, found.extent_along_m, found.height_m]).all()


@pytest.mark.parametrize("pixel", [(-1, 240), (640, 240), (320, -0.6), (320, 479.6)])
def test_a_pixel_outside_of_the_picture_has_no_depth(pixel):
    assert locate(pixel, wall(), CAMERA).status == Status.NO_DEPTH


def test_depth_of_another_size_is_refused():
    with pytest.raises(CameraError, match="depth image is 320x240"):
        locate(MIDDLE, wall()[::2, ::2], CAMERA)
    with pytest.raises(CameraError, match="depth image is 320x240"):
        find_support(wall()[::2, ::2], CAMERA)


def test_the_height_is_that_above_the_table():
    depth = table_with_box(top=0.05)
    support = find_support(depth, CAMERA)
    assert locate(MIDDLE, depth, CAMERA, support=support).height_m == pytest.approx(0.05, abs=1e-4)
    beside = locate((420, 240), depth, CAMERA, support=support)
    assert beside.height_m == pytest.approx(0, abs=1e-4)
    assert np.isnan(locate(MIDDLE, depth, CAMERA).height_m)


def test_a_scene_without_a_plane_has_no_support():
    depth = np.random.default_rng(0).uniform(0.3, 3, (480, 640)).astype(np.float32)
    assert find_support(depth, CAMERA) is None
    assert find_support(np.full((480, 640), np.nan, np.float32), CAMERA) is None


def test_the_extent_is_that_of_the_box_and_x_lies_along_it():
    depth = table_with_box(size=(0.06, 0.03))
    found = locate(MIDDLE, depth, CAMERA, support=find_support(depth, CAMERA))
    assert found.extent_along_m == pytest.approx(0.06, abs=CELL_M)
    assert found.extent_across_m == pytest.approx(0.03, abs=CELL_M)
    np.testing.assert_allclose(found.quaternion, [0, 0, 0, 1], atol=1e-3)


def test_x_follows_a_box_that_stands_across():
    depth = table_with_box(size=(0.02, 0.08))
    x = rotation_matrix(locate(MIDDLE, depth, CAMERA).quaternion)[:, 0]
    assert abs(x[1]) == pytest.approx(1, abs=1e-3)


def test_a_flat_thing_on_the_table_has_the_table_left_out_of_its_extent():
    depth = table_with_box(top=0.01)
    found = locate(MIDDLE, depth, CAMERA, support=find_support(depth, CAMERA))
    assert found.extent_along_m == pytest.approx(0.06, abs=CELL_M)


def test_the_table_that_crosses_the_plane_of_a_face_is_no_part_of_it():
    table = plane_depth(FROM_ABOVE, (0, 0.03, 0.6))
    face = plane_depth(unit(0, 1, -1), (0, 0, 0.57))  # upright on the table, 4 cm wide
    on_face = (np.abs(directions()[..., 0] * face) <= 0.02) & (face < table)
    depth = np.where(on_face, face, table).astype(np.float32)
    found = locate((320, 230), depth, CAMERA)
    assert found.extent_across_m == pytest.approx(0.04, abs=CELL_M)


def test_a_patch_that_is_larger_than_the_reach_has_no_longest_direction():
    found = locate(MIDDLE, plane_depth(FROM_ABOVE, (0, 0, 0.8)), CAMERA)
    assert found.extent_along_m == pytest.approx(0.24, abs=2 * CELL_M)
    assert found.extent_across_m == pytest.approx(0.24, abs=2 * CELL_M)


def test_the_covariance_of_a_wall_is_as_computed_by_hand():
    found = locate(MIDDLE, wall(1.0), CAMERA, pixel_sigma=2.0)
    # 2 pixels of 1 m / 500 sideways: (4 mm)^2
    np.testing.assert_allclose(found.covariance[:2, :2], np.eye(2) * 0.004**2, atol=1e-10)
    assert 0 < found.covariance[2, 2] < 0.0025**2  # the noise of depth at 1 m, averaged
    np.testing.assert_allclose(found.covariance[2, :2], 0, atol=1e-9)
    np.testing.assert_allclose(found.covariance[:3, 3:], 0)
    # a wall is longer than it reaches: no longest direction, the turn about z is anything
    assert found.covariance[5, 5] == pytest.approx(np.pi**2 / 12, rel=1e-3)
    assert 0 < found.covariance[3, 3] < np.radians(5) ** 2


def test_on_a_slope_a_pixel_error_moves_the_point_along_the_slope():
    found = locate(MIDDLE, plane_depth(FROM_ABOVE, (0, 0, 1.0)), CAMERA, pixel_sigma=5.0)
    # z = 1 / (1 + y'): one pixel down, y' by 1 / 500, brings the point 2 mm closer, 5 pixels 1 cm
    assert found.covariance[1, 2] == pytest.approx(-(0.01**2), rel=0.05)
    assert found.covariance[2, 2] == pytest.approx(0.01**2, rel=0.1)
    assert found.covariance[0, 2] == pytest.approx(0, abs=1e-8)


def test_the_turn_of_a_long_thing_is_better_known():
    depth = table_with_box(size=(0.08, 0.02))
    found = locate(MIDDLE, depth, CAMERA)
    assert found.covariance[5, 5] < np.pi**2 / 12 / 9


@pytest.mark.parametrize("pixel", [(320, 240), (100, 80), (600, 400), (348, 240)])
def test_the_covariance_is_symmetric_and_positive(pixel):
    rng = np.random.default_rng(0)
    depth = (table_with_box() + rng.normal(0, 0.001, (480, 640))).astype(np.float32)
    covariance = locate(pixel, depth, CAMERA).covariance
    np.testing.assert_allclose(covariance, covariance.T)
    assert np.linalg.eigvalsh(covariance).min() > 0


def test_a_transform_carries_everything_but_the_ray():
    optical = locate((420, 190), wall(2.0), CAMERA)
    # the camera looks along the robot's x axis: right is -y, down is -z, forward is x
    rotation = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    base = transform(optical, rotation, np.array([0.1, 0.0, 0.5]))
    np.testing.assert_allclose(base.position, [2.1, -0.4, 0.7], atol=1e-6)
    np.testing.assert_allclose(base.normal, [-1, 0, 0], atol=1e-5)
    np.testing.assert_allclose(base.ray, optical.ray)
    axes = rotation_matrix(base.quaternion)
    np.testing.assert_allclose(axes[:, 2], [1, 0, 0], atol=1e-5)
    np.testing.assert_allclose(axes[:, 0], [0, -1, 0], atol=1e-5)
    for a, b in ((0, 2), (1, 0), (2, 1)):  # x of the robot is z of the camera, ...
        assert base.covariance[a, a] == pytest.approx(optical.covariance[b, b])
        assert base.covariance[a + 3, a + 3] == pytest.approx(optical.covariance[b + 3, b + 3])
    assert base.depth_m == optical.depth_m


def test_what_has_no_position_is_not_transformed():
    nowhere = locate(MIDDLE, None, CAMERA)
    assert transform(nowhere, np.eye(3), np.ones(3)) is nowhere
