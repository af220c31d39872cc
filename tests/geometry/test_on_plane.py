import numpy as np
import pytest
from surfaces import CAMERA, camera_info, plane_depth, unit

from molmo_ros.camera import Camera
from molmo_ros.geometry import Source, Status, locate
from molmo_ros.on_plane import locate_on_plane, plane_of
from molmo_ros.planes import Plane
from molmo_ros.pose import rotation_matrix

MIDDLE = (320.0, 240.0)
# A table whose z axis points up: the camera looks at it from 45 degrees above, 0.8 m away.
UP = unit(0, -1, -1)
TABLE = np.column_stack([[1, 0, 0], np.cross(UP, [1, 0, 0]), UP])
CENTRE = np.array([0, 0, 0.8])


def on_table(pixel=MIDDLE, height_m=0.0, pixel_sigma=2.0, plane_sigma_m=0.005):
    plane = plane_of(TABLE, CENTRE, height_m)
    return locate_on_plane(
        pixel, CAMERA, plane, pixel_sigma=pixel_sigma, plane_sigma_m=plane_sigma_m
    )


def test_the_ray_meets_the_plane_as_by_hand():
    found = on_table()
    assert (found.status, found.source) == (Status.OK, Source.PLANE)
    np.testing.assert_allclose(found.position, CENTRE, atol=1e-12)
    np.testing.assert_allclose(found.normal, UP)
    np.testing.assert_allclose(rotation_matrix(found.quaternion)[:, 2], -UP, atol=1e-9)
    # 10 cm up the z axis of the table: 10 cm * sqrt(2) nearer along the axis of the camera
    np.testing.assert_allclose(on_table(height_m=0.1).position, [0, 0, 0.8 - 0.1 * 2**0.5])


def test_it_is_where_depth_would_have_measured_it():
    pixel = (400.0, 300.0)
    measured = locate(pixel, plane_depth(UP, CENTRE), CAMERA, pixel_sigma=2.0)
    found = on_table(pixel)
    np.testing.assert_allclose(found.position, measured.position, atol=1e-5)
    np.testing.assert_allclose(found.ray, measured.ray)


def test_the_errors_of_pixel_and_plane_are_those_of_samples():
    rng = np.random.default_rng(0)
    pixels = np.array(MIDDLE) + rng.normal(0, 2.0, (4000, 2))
    heights = rng.normal(0, 0.005, 4000)
    rays = CAMERA.directions(pixels)
    depths = (UP @ CENTRE + heights) / (rays @ UP)
    scattered = np.cov((rays * depths[:, None]).T)
    # 4000 samples know a variance to 2 %, and what mixes both is of second order
    np.testing.assert_allclose(on_table().covariance[:3, :3], scattered, atol=3e-6)
    assert scattered[2, 2] > 5e-5


def test_nothing_else_is_claimed_to_be_known():
    found = on_table()
    assert np.isnan([found.depth_spread_m, found.extent_along_m, found.extent_across_m]).all()
    assert found.depth_window == 0
    assert found.covariance[5, 5] > 1.0 / 3  # the turn about the approach is anything


def test_a_ray_along_the_plane_or_away_from_it_has_no_waypoint():
    floor = Plane(np.array([0, -1.0, 0]), 1.0)  # 1 m below a camera that looks ahead
    for v, status in ((0, Status.NO_DEPTH), (300, Status.NO_DEPTH), (479, Status.OK)):
        found = locate_on_plane((320, v), CAMERA, floor, pixel_sigma=1.0, plane_sigma_m=0.01)
        assert found.status == status, v
    assert np.isfinite(found.ray).all()


def test_a_camera_below_the_plane_does_not_see_it():
    assert plane_of(TABLE, CENTRE, 0.6) is None
    assert plane_of(TABLE @ np.diag([1, -1, -1]), CENTRE, 0.0) is None


def test_where_the_lens_model_ends_there_is_no_waypoint():
    camera = Camera.from_info(camera_info(d=[-1.5, 0, 0, 0, 0]))
    plane = plane_of(TABLE, CENTRE, 0.0)
    found = locate_on_plane((5, 5), camera, plane, pixel_sigma=1.0, plane_sigma_m=0.01)
    assert found.status == Status.NO_CAMERA_INFO


@pytest.mark.parametrize("sigma_m", [0.001, 0.02])
def test_a_less_certain_plane_is_a_less_certain_waypoint(sigma_m):
    found = on_table(pixel_sigma=1e-9, plane_sigma_m=sigma_m)
    # along the ray, at 45 degrees to the plane
    assert found.covariance[2, 2] ** 0.5 == pytest.approx(sigma_m * 2**0.5)
