import cv2
import numpy as np
import pytest

from molmo_ros import glimpses
from molmo_ros.camera import Camera
from molmo_ros.glimpses import Past, glimpse

K = np.array([[500.0, 0, 322.0], [0, 505.0, 236.0], [0, 0, 1]])
PLAIN = np.zeros((480, 640, 3), np.uint8)


def camera(distortion=(), model="") -> Camera:
    return Camera(640, 480, K, np.array(distortion, float), model, "")


@pytest.mark.parametrize(
    "lens",
    [
        None,
        camera(),
        camera([0.1, -0.2, 0.001, -0.002, 0.05], "plumb_bob"),
        camera([0.05, -0.01, 0.002, 0.0], "equidistant"),
    ],
)
@pytest.mark.parametrize("pixel", [(0.0, 0.0), (321.5, 77.25), (639.0, 479.0)])
def test_a_pixel_survives_the_way_to_the_glimpse_and_back(lens, pixel):
    seen = glimpse(0.0, PLAIN, None, lens)
    assert seen.to_frame(seen.from_frame(pixel)) == pytest.approx(pixel, abs=0.02)


def test_a_glimpse_shows_a_thing_where_from_frame_says():
    """Also through a lens that bends straight lines."""
    lens = camera([0.1, -0.2, 0.0, 0.0, 0.0], "plumb_bob")
    rgb = PLAIN.copy()
    cv2.circle(rgb, (540, 400), 8, (255, 255, 255), -1)
    seen = glimpse(0.0, rgb, None, lens)
    v, u = np.nonzero(seen.rgb[:, :, 0] > 128)
    assert [u.mean(), v.mean()] == pytest.approx(seen.from_frame((540, 400)), abs=0.3)


def test_an_outline_has_the_depth_of_what_is_in_front():
    depth_m = np.full((480, 640), 0.8, np.float32)
    depth_m[200:300, 300:400] = 0.5
    seen = glimpse(0.0, PLAIN, depth_m, camera())
    assert seen.rgb.shape[:2] == seen.depth_m.shape == (240, 320)
    assert seen.depth_m[125, [148, 149, 150]] == pytest.approx([0.8, 0.5, 0.5])


def test_unknown_depth_stays_unknown():
    depth_m = np.full((480, 640), np.nan, np.float32)
    depth_m[:, :320] = 0.8
    seen = glimpse(0.0, PLAIN, depth_m, camera())
    assert seen.point_m(np.array([20.0, 20.0]))[2] == pytest.approx(0.8)
    assert seen.point_m(np.array([250.0, 20.0])) is None
    assert glimpse(0.0, PLAIN, depth_m, None).point_m(np.array([20.0, 20.0])) is None


def test_a_glimpse_owns_its_pixels():
    rgb = np.zeros((240, 320, 3), np.uint8)
    seen = glimpse(0.0, rgb, None, None)
    rgb[:] = 255
    assert seen.rgb.max() == 0


def test_a_long_past_is_thinned_out_evenly_and_stays_small(monkeypatch):
    seen = glimpse(0.0, PLAIN, None, None)
    monkeypatch.setattr(glimpses, "MEMORY_BYTES", 16 * seen.rgb.nbytes)
    past = Past()
    for number in range(300):
        past.add(glimpse(number / 30, PLAIN, None, None))
    kept = [each.stamp_s for each in past.since(0.5)]
    assert 5 <= len(kept) <= 16
    assert kept[0] > 0.5 and kept[-1] > 8.0
    gaps = np.diff(kept)
    assert gaps.max() < 2.5 * gaps.min()
