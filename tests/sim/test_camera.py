import numpy as np
import pytest

from molmo_sim.camera import Camera, deproject, project

CAMERA = Camera(position_m=(0.5, -0.4, 0.6), target_m=(0.02, 0.01, 0.0))
K = CAMERA.intrinsics(640, 480)


def test_the_focal_length_follows_from_the_field_of_view():
    assert K[0, 0] == K[1, 1] == pytest.approx(240 / np.tan(np.radians(25)))
    assert K[0, 0] == pytest.approx(514.68, abs=0.005)
    assert (K[0, 2], K[1, 2]) == (319.5, 239.5)


def test_the_target_is_in_the_middle_of_the_picture_at_its_distance():
    pixels, depths_m = project([CAMERA.target_m], CAMERA.pose, K)
    assert pixels[0] == pytest.approx([319.5, 239.5])
    assert depths_m[0] == pytest.approx(
        np.linalg.norm(np.subtract((0.5, -0.4, 0.6), (0.02, 0.01, 0)))
    )


def test_up_in_the_world_is_up_in_the_picture_and_the_pose_is_a_rotation():
    pixels, _ = project([(0.02, 0.01, 0.0), (0.02, 0.01, 0.1)], CAMERA.pose, K)
    assert pixels[1, 1] < pixels[0, 1] and pixels[1, 0] == pytest.approx(pixels[0, 0])
    rotation = CAMERA.pose[:3, :3]
    assert rotation @ rotation.T == pytest.approx(np.eye(3))
    assert np.linalg.det(rotation) == pytest.approx(1)


def test_deprojecting_undoes_projecting():
    points = np.random.default_rng(0).uniform(-0.2, 0.2, (50, 3))
    assert deproject(*project(points, CAMERA.pose, K), CAMERA.pose, K) == pytest.approx(points)
