"""Into which frame waypoints go, and where they lie without depth; transforms are scripted."""

from __future__ import annotations

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from molmo_ros.camera import Camera
from molmo_ros.frames import Frame, View, open_frame
from molmo_ros.geometry import Source, Status
from molmo_ros.parameters import Parameters
from molmo_ros.placing import place
from molmo_ros.tf_buffer import TransformBuffer

STAMP_NS = 1_700_000_000_123_456_789  # a double holds it to 256 ns only
FRAME = Frame(
    Image(header=Header(frame_id="eye", stamp=Time(sec=1_700_000_000, nanosec=123_456_789))),
    STAMP_NS * 1e-9,
)
MIDDLE = (49.5, 39.5)
DOWN = (1.0, 0.0, 0.0, 0.0)  # half a turn about x: the eye looks down along -z of the base


class Scripted:
    """Transforms that were put in, with nothing to wait for."""

    def __init__(self) -> None:
        self.buffer = TransformBuffer(10.0)
        self.asked: list[tuple[str, str]] = []

    def open(self, length_s: float) -> None:
        pass

    def look_up(self, target, source, stamp_ns, *, timeout_s, check):
        check()
        self.asked.append((target, source))
        return self.buffer.lookup(target, source, stamp_ns)


@pytest.fixture
def transforms():
    """The eye is 0.5 m above the base, exactly at the stamp of the image."""
    scripted = Scripted()
    scripted.buffer.put("base", "eye", STAMP_NS, (0, 0, 0.5), DOWN)
    return scripted


def view(depth_m=0.5):
    k = np.array([[100.0, 0, 49.5], [0, 100.0, 39.5], [0, 0, 1]])
    depth = None if depth_m is None else np.full((80, 100), depth_m, np.float32)
    return View(
        np.zeros((80, 100, 3), np.uint8), depth, Camera(100, 80, k, np.zeros(0), "", "eye")
    )


def placed(transforms, view, pixel=MIDDLE, has_depth=True, **parameters):
    placement = place(FRAME, has_depth, transforms, Parameters(**parameters), lambda: None)
    return *placement.locate(view, pixel), placement.notes


def test_without_a_target_frame_nothing_is_looked_up():
    location, frame, notes = placed(None, view())
    assert (location.status, frame, notes) == (Status.OK, "eye", ())
    np.testing.assert_allclose(location.position, [0, 0, 0.5], atol=1e-6)


def test_in_the_target_frame_are_position_normal_and_covariance(transforms):
    location, frame, notes = placed(transforms, view(), (59.5, 39.5), target_frame="base")
    assert (location.status, frame, notes) == (Status.OK, "base", ())
    np.testing.assert_allclose(location.position, [0.05, 0, 0], atol=1e-6)
    np.testing.assert_allclose(location.normal, [0, 0, 1], atol=1e-5)
    optical = view().locate((59.5, 39.5))
    np.testing.assert_allclose(location.ray, optical.ray)
    flip = np.diag([1.0, -1, -1])
    np.testing.assert_allclose(
        location.covariance[:3, :3], flip @ optical.covariance[:3, :3] @ flip, atol=1e-15
    )


def test_the_frame_of_the_image_needs_no_transform():
    assert placed(Scripted(), view(), target_frame="eye")[1:] == ("eye", ())


def test_a_missing_transform_leaves_the_pose_where_it_was_seen(transforms):
    location, frame, notes = placed(transforms, view(), target_frame="map")
    assert (location.status, frame) == (Status.NO_TF, "")
    np.testing.assert_allclose(location.position, [0, 0, 0.5], atol=1e-6)
    assert "'map' is not known" in notes[0]


def test_a_point_without_depth_stays_without(transforms):
    for target in ("base", "map"):
        location, frame, _ = placed(transforms, view(np.nan), target_frame=target)
        assert (location.status, frame) == (Status.NO_DEPTH, "")


def test_without_a_depth_camera_points_lie_on_the_plane(transforms):
    plane = {"plane_frame": "base", "plane_height_m": 0.1}
    location, frame, _ = placed(transforms, view(None), has_depth=False, **plane)
    assert (location.status, location.source, frame) == (Status.OK, Source.PLANE, "eye")
    np.testing.assert_allclose(location.position, [0, 0, 0.4], atol=1e-12)
    location, frame, _ = placed(
        transforms, view(None), (59.5, 39.5), False, target_frame="base", **plane
    )
    assert (location.source, frame) == (Source.PLANE, "base")
    np.testing.assert_allclose(location.position, [0.04, 0, 0.1], atol=1e-12)


@pytest.mark.parametrize("depth_m", [None, np.nan])
def test_a_hole_is_filled_by_the_plane_only_where_the_parameter_says_so(transforms, depth_m):
    found = placed(transforms, view(depth_m), plane_frame="base")[0]
    assert found.status == Status.NO_DEPTH
    assert transforms.asked == []
    found = placed(transforms, view(depth_m), plane_frame="base", plane_at_holes=True)[0]
    assert (found.status, found.source) == (Status.OK, Source.PLANE)


def test_measured_depth_goes_before_the_plane(transforms):
    found = placed(transforms, view(0.45), plane_frame="base", plane_at_holes=True)[0]
    assert found.source == Source.MEASURED
    assert found.position[2] == pytest.approx(0.45)


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"plane_frame": "desk"}, "'desk' is not known"),
        (
            {"plane_frame": "base", "plane_height_m": 0.6},
            "not above the plane z = 0.6 m of 'base'",
        ),
    ],
)
def test_a_plane_that_is_not_there_is_said_and_not_guessed(transforms, parameters, says):
    location, _, notes = placed(transforms, view(None), has_depth=False, **parameters)
    assert location.status == Status.NO_DEPTH
    assert says in notes[0]


def test_the_declared_noise_reaches_the_view():
    given = Parameters(depth_noise="tof", depth_noise_growth=0.003, pixel_sigma_percent=1.0)
    assert given.errors.depth.sigma_m(2.0) == pytest.approx(0.0065)
    assert view().pixel_sigma == pytest.approx(0.47)
    assert Parameters().errors == view().errors


def test_what_is_doubtful_about_the_intrinsics_becomes_a_note_of_the_view():
    image = Image(height=80, width=100, encoding="rgb8", step=300, data=bytes(24000))
    size = {"height": 80, "width": 100}
    good = CameraInfo(**size, k=[100.0, 0, 49.5, 0, 100, 39.5, 0, 0, 1])
    odd = CameraInfo(**size, k=[100.0, 0, 49.5, 0, 60, 39.5, 0, 0, 1])
    assert "camera_info" not in " ".join(open_frame(Frame(image, 0.0, None, good)).notes)
    view = open_frame(Frame(image, 0.0, None, odd))
    assert "fx 100 and fy 60 differ by 67%" in " ".join(view.notes)
    assert view.camera is not None
