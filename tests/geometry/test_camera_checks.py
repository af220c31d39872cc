from types import SimpleNamespace

import pytest
from surfaces import camera_info

from molmo_ros.camera_checks import complaints

SAME_P = [500.0, 0, 320, 0, 0, 500, 240, 0, 0, 0, 1, 0]


def about(rectified=False, size=(640, 480), **fields):
    info = camera_info(**{"p": SAME_P} | fields)
    return " | ".join(complaints(info, *size, rectified=rectified))


def k(fx=500.0, fy=500.0, cx=320.0, cy=240.0):
    return {"k": [fx, 0, cx, 0, fy, cy, 0, 0, 1], "p": [fx, 0, cx, 0, 0, fy, cy, 0, 0, 0, 1, 0]}


def test_a_good_calibration_has_no_complaints():
    assert about() == ""
    assert about(d=[-0.3, 0.1, 0.001, -0.002, 0.01]) == ""
    assert about(rectified=True) == ""
    assert about(p=[0.0] * 12) == ""  # drivers of raw images may leave P empty


def test_a_fisheye_may_see_wider_than_a_pinhole():
    lens = {"distortion_model": "equidistant", "d": [0.01, 0, 0, 0]}
    assert "field of view" not in about(**k(fx=200.0, fy=200.0), **lens)  # 183 degrees


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (k(fx=0.0), "uncalibrated"),
        (k(fx=5000.0, fy=5000.0), "field of view of 7.32 degrees"),  # 2 atan(320 / 5000)
        (k(fx=25.0, fy=25.0), "horizontal field of view of 171 degrees"),
        (k(fx=500.0, fy=375.0), "differ by 33%"),
        (k(cx=1280.0), "outside the 640x480 image"),
        (k(cy=100.0), "(320, 100) is far from the middle"),
        ({"p": [480.0, 0, 310, 0, 0, 480, 230, 0, 0, 0, 1, 0]}, "fx is 500 in K and 480 in P"),
        ({"d": []}, "no coefficients"),
        ({"d": [30.0, 0, 0, 0, 0]}, "move corners"),
        ({"d": [-2.0, 0, 0, 0, 0]}, "no answer in the corners"),
        ({"distortion_model": "kannala", "d": [1.0]}, "'kannala'"),
    ],
)
def test_what_cannot_be_right_is_named_with_its_numbers(fields, says):
    assert says in about(**fields)


def test_a_size_that_is_not_the_images_is_named():
    assert "image is 1280x720" in about(size=(1280, 720))


def test_a_region_far_from_the_axis_is_judged_as_the_whole_sensor():
    corner = SimpleNamespace(x_offset=0, y_offset=0, width=100, height=80)
    assert about(size=(100, 80), roi=corner) == ""


@pytest.mark.parametrize(
    ("p", "says"),
    [
        ([1100.0, 0, 320, 0, 0, 1100, 240, 0, 0, 0, 1, 0], "500 in K and 1100 in P"),
        ([500.0, 0, 320, -30, 0, 500, 240, 0, 0, 0, 1, 0], "0.06 m beside the first"),
    ],
)
def test_a_rectified_image_is_judged_by_p(p, says):
    assert says in about(rectified=True, p=p)


def test_recorded_cameras_are_not_complained_about(test_data):
    from test_recordings import messages

    bag = test_data / "bags" / "mosd_tabletop"
    for info in messages(bag, "/camera/color/camera_info"):
        assert complaints(info, 640, 480) == ()
