from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from surfaces import camera_info

from molmo_ros.camera import Camera, CameraError

DISTORTIONS = {
    "plumb_bob": [-0.3, 0.1, 0.001, -0.002, 0.01],
    "rational_polynomial": [0.5, -0.3, 2e-4, 1e-4, 0.02, 0.8, -0.2, 0.05],
    "equidistant": [0.1, -0.02, 0.003, -0.001],
}


def test_a_ray_is_computed_as_by_hand():
    camera = Camera.from_info(camera_info())
    np.testing.assert_allclose(camera.ray((320, 240)), [0, 0, 1])
    np.testing.assert_allclose(camera.ray((820, 240)), [0.5**0.5, 0, 0.5**0.5])
    np.testing.assert_allclose(camera.directions([(370.0, 140.0)]), [[0.1, -0.2, 1]])


def test_plumb_bob_is_undone_as_by_hand():
    # x = 0.5: r^2 = 0.25, distorted to 0.5 * (1 + 0.1 * 0.25) = 0.5125, at 500 * 0.5125 + 320
    camera = Camera.from_info(camera_info(d=[0.1, 0, 0, 0, 0]))
    np.testing.assert_allclose(camera.directions((576.25, 240)), [[0.5, 0, 1]], atol=1e-9)


def test_equidistant_is_undone_as_by_hand():
    # x = 1 is 45 degrees: theta = pi / 4, distorted to theta * (1 + 0.1 * theta^2)
    theta = np.pi / 4
    u = 500 * theta * (1 + 0.1 * theta**2) + 320
    camera = Camera.from_info(camera_info(distortion_model="equidistant", d=[0.1, 0, 0, 0]))
    np.testing.assert_allclose(camera.directions((u, 240)), [[1, 0, 1]], atol=1e-6)


@pytest.mark.parametrize("model", DISTORTIONS)
def test_undistortion_undoes_opencvs_projection(model):
    camera = Camera.from_info(camera_info(distortion_model=model, d=DISTORTIONS[model]))
    points = np.array([[0.3, -0.2, 1.0], [0.5, 0.4, 1.0], [-0.6, 0.1, 1.0], [0.0, 0.0, 1.0]])
    zero = np.zeros(3)
    if model == "equidistant":
        pixels, _ = cv2.fisheye.projectPoints(
            points[:, None], zero, zero, camera.k, camera.distortion
        )
    else:
        pixels, _ = cv2.projectPoints(points, zero, zero, camera.k, camera.distortion)
    # a thousandth of a pixel: 2e-6 in direction
    np.testing.assert_allclose(camera.directions(pixels.reshape(-1, 2)), points, atol=2e-6)


def test_region_and_binning_scale_the_intrinsics_as_by_hand():
    info = camera_info(
        width=1280,
        height=960,
        k=[1000.0, 0, 640, 0, 1000, 480, 0, 0, 1],
        binning_x=2,
        binning_y=2,
        roi=SimpleNamespace(x_offset=200, y_offset=100, width=800, height=600),
    )
    camera = Camera.from_info(info)
    assert (camera.width, camera.height) == (400, 300)
    np.testing.assert_allclose(camera.k, [[500, 0, 220], [0, 500, 190], [0, 0, 1]])


def test_a_rectified_image_uses_p_and_no_distortion():
    camera = Camera.from_info(camera_info(d=DISTORTIONS["plumb_bob"]), rectified=True)
    np.testing.assert_allclose(camera.directions((790, 230)), [[1, 0, 1]])


def test_the_frame_is_the_one_of_the_message():
    assert Camera.from_info(camera_info()).frame == "optical"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"k": [0.0] * 9}, "uncalibrated"),
        ({"k": [500.0, 0, np.nan, 0, 500, 240, 0, 0, 1]}, "finite"),
        ({"k": [500.0, 0, 320, 0, -500, 240, 0, 0, 1]}, "positive"),
        ({"width": 0}, "0x480"),
        ({"distortion_model": "kannala", "d": [0.1]}, "'kannala'.*rectified image"),
        ({"distortion_model": "plumb_bob", "d": [0.1, 0.2]}, "2 coefficients.*4 or 5"),
        ({"d": [np.nan] * 5}, "nan"),
    ],
)
def test_what_gives_no_ray_is_refused_with_a_reason(fields, says):
    with pytest.raises(CameraError, match=says):
        Camera.from_info(camera_info(**fields))


def test_an_image_of_another_size_is_refused_with_both_sizes():
    with pytest.raises(CameraError, match=r"depth image is 320x240.*640x480"):
        Camera.from_info(camera_info()).require_size(320, 240, "depth image")
