import cv2
import numpy as np
import pytest

from molmo_ros.alignment import RIGID, SIMILARITY, Template, project

K = np.array([[260.0, 0, 159.5], [0, 260, 119.5], [0, 0, 1]])
TEXTURE = cv2.GaussianBlur(
    np.random.default_rng(1).uniform(0, 255, (240, 320)).astype(np.float32), (0, 0), 3.0
)
TEXTURE = (TEXTURE - TEXTURE.min()) * 255 / np.ptp(TEXTURE)


def wall(distance_m: float = 0.6) -> np.ndarray:
    """(240, 320, 3) the points of a wall across the optical axis."""
    u, v = np.meshgrid(np.arange(320), np.arange(240))
    return distance_m * np.dstack([(u - 159.5) / 260, (v - 119.5) / 260, np.ones_like(u)])


def seen_after(motion: np.ndarray, distance_m: float = 0.6) -> np.ndarray:
    """The texture on the wall after a rigid motion: a homography."""
    normal = np.array([0, 0, 1 / distance_m])
    plane = motion[:3, :3] + np.outer(motion[:3, 3], normal)
    return cv2.warpPerspective(TEXTURE, K @ plane @ np.linalg.inv(K), (320, 240))


def rigid(shift=(0.0, 0.0, 0.0), turn=(0.0, 0.0, 0.0)) -> np.ndarray:
    motion = np.eye(4)
    motion[:3, :3] = cv2.Rodrigues(np.array(turn))[0]
    motion[:3, 3] = shift
    return motion


@pytest.mark.parametrize(
    "motion",
    [
        rigid(shift=(0.01, -0.006, 0.0)),
        rigid(shift=(0.0, 0.0, -0.05)),
        rigid(turn=(0.0, 0.0, 0.08)),
        rigid(shift=(0.005, 0.0, 0.02), turn=(0.02, -0.03, 0.03)),
    ],
)
def test_a_rigid_motion_is_found(motion):
    template = Template(TEXTURE, wall(), K, freedom=RIGID, most=800)
    fit = template.find(seen_after(motion), np.eye(4))
    corners = wall()[[60, 60, 180, 180], [80, 240, 80, 240]]
    off = project(corners, fit.motion, K) - project(corners, motion, K)
    assert np.abs(off).max() < 0.2  # pixels; bilinear sampling blurs by as much
    assert fit.share > 0.6  # nearer, the picture's rim is out of it


def test_what_covers_a_third_does_not_pull():
    motion = rigid(shift=(0.008, 0.0, 0.0))
    picture = seen_after(motion)
    picture[:80] = 255 - np.roll(TEXTURE, 7, axis=1)[:80]
    template = Template(TEXTURE, wall(), K, freedom=RIGID, most=800)
    fit = template.find(picture, np.eye(4))
    corner = wall()[200, 160][None]
    assert project(corner, fit.motion, K) == pytest.approx(project(corner, motion, K), abs=0.3)
    assert fit.share < 0.8


def test_only_what_is_free_changes():
    template = Template(TEXTURE, wall(), K, freedom=SIMILARITY, most=800)
    fit = template.find(seen_after(rigid(turn=(0.05, 0.04, 0.03))), np.eye(4))
    assert fit.motion[2, :2] == pytest.approx([0, 0])  # no turn out of the picture's plane


def test_points_of_unknown_depth_are_left_out():
    surface = wall()
    surface[:, 100:] = np.nan
    template = Template(TEXTURE, surface, K, freedom=RIGID, most=800)
    assert template.hold > 0
    surface[:] = np.nan
    blind = Template(TEXTURE, surface, K, freedom=RIGID, most=800)
    assert blind.hold == 0
    assert blind.find(TEXTURE, np.eye(4)) is None


def test_out_of_the_picture_nothing_is_found():
    template = Template(TEXTURE, wall(), K, freedom=RIGID, most=800)
    assert template.find(TEXTURE, rigid(shift=(5.0, 0.0, 0.0))) is None
    assert template.find(TEXTURE, rigid(shift=(0.0, 0.0, -2.0))) is None
