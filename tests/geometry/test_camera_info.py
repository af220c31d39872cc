from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from surfaces import camera_info

from molmo_ros.camera import Camera, CameraError
from molmo_ros.geometry import Status, find_support, locate

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


@pytest.mark.parametrize("model", [*DISTORTIONS, "plumb_bob 4", "12", "14"])
def test_every_number_of_coefficients_is_undone(model):
    extra = {"12": [1e-3, 2e-3, -1e-3, 1e-3], "14": [1e-3, 2e-3, -1e-3, 1e-3, 0.02, -0.01]}
    name = model if model in DISTORTIONS else "rational_polynomial"
    d = DISTORTIONS[name] + extra.get(model, [])
    if model == "plumb_bob 4":
        name, d = "plumb_bob", DISTORTIONS["plumb_bob"][:4]
    camera = Camera.from_info(camera_info(distortion_model=name, d=d))
    degrees = np.radians([0, 10, 20, 30, 38])
    points = np.column_stack([0.6 * np.tan(degrees), 0.8 * np.tan(degrees), np.ones(5)])
    project = cv2.fisheye.projectPoints if name == "equidistant" else cv2.projectPoints
    pixels = project(points[:, None], np.zeros(3), np.zeros(3), camera.k, camera.distortion)[0]
    np.testing.assert_allclose(camera.directions(pixels.reshape(-1, 2)), points, atol=2e-6)


@pytest.mark.parametrize("degrees", [60, 75, 85, 89])
def test_a_fisheye_is_undone_far_off_its_axis(degrees):
    # theta is 500 pixels a radian, a little less at the border; by hand, without OpenCV
    theta = np.radians(degrees)
    u = 320 + 500 * theta * (1 - 0.02 * theta**2)
    camera = Camera.from_info(camera_info(distortion_model="equidistant", d=[-0.02, 0, 0, 0]))
    np.testing.assert_allclose(camera.ray((u, 240)), [np.sin(theta), 0, np.cos(theta)], atol=1e-7)


def test_beside_and_behind_a_fisheye_there_is_no_ray():
    camera = Camera.from_info(camera_info(distortion_model="equidistant", d=[0.1, 0, 0, 0]))
    theta = np.radians(np.array([82, 91, 120]))  # the first: OpenCV stops at a distorted pi / 2
    u = 320 + 500 * theta * (1 + 0.1 * theta**2)
    assert np.isnan(camera.directions(np.column_stack([u, np.full(3, 240.0)]))[:, :2]).all()


def test_past_the_fold_of_a_lens_model_there_is_no_ray():
    # r (1 - 0.3 r^2) grows until r^2 = 1 / 0.9, to 0.703 or pixel 671, and nothing lies beyond
    camera = Camera.from_info(camera_info(d=[-0.3, 0, 0, 0, 0]))
    assert camera.directions((660, 240))[0, 0] == pytest.approx(0.886, abs=0.01)
    assert np.isnan(camera.directions((680, 240))[0, :2]).all()


def test_a_pixel_without_a_ray_costs_the_waypoint_and_nothing_else():
    camera = Camera.from_info(camera_info(d=[-1.5, 0, 0, 0, 0]))
    depth = np.full((480, 640), 0.8, np.float32)
    support = find_support(depth, camera)
    assert locate((5, 5), depth, camera, support=support).status == Status.NO_CAMERA_INFO
    assert locate((320, 240), depth, camera, support=support).status == Status.OK


def test_surroundings_without_rays_do_not_bend_the_surface():
    camera = Camera.from_info(camera_info(d=[-0.9, 0, 0, 0, 0]))
    fold = 320 + 500 * (2 / 3) * (1 / 2.7) ** 0.5  # pixel 522
    found = locate((fold - 4, 240), np.full((480, 640), 0.8, np.float32), camera)
    assert found.status == Status.OK
    np.testing.assert_allclose(found.normal, [0, 0, -1], atol=1e-4)


def test_region_first_then_binning_even_where_they_do_not_divide():
    info = camera_info(
        binning_x=2,
        binning_y=3,
        roi=SimpleNamespace(x_offset=11, y_offset=7, width=101, height=50),
    )
    camera = Camera.from_info(info)
    assert (camera.width, camera.height) == (50, 16)
    np.testing.assert_allclose(camera.k, [[250, 0, 154.5], [0, 500 / 3, 233 / 3], [0, 0, 1]])
    # the same direction, through the published pixel and through the sensor's own
    whole = Camera.from_info(camera_info()).directions((11 + 2 * 30, 7 + 3 * 10))
    np.testing.assert_allclose(camera.directions((30, 10)), whole)
