"""Points carried through pictures that were moved by known amounts."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from molmo_ros.camera import Camera
from molmo_ros.glimpses import glimpse
from molmo_ros.tracking import Tracker

WIDTH, HEIGHT = 640, 480
SPOT = (330.0, 250.0)
SUBPIXEL = 0.5  # pixels of the frame: a quarter of a pixel of its glimpse
CAMERA = Camera(
    WIDTH, HEIGHT, np.array([[500.0, 0, 319.5], [0, 500, 239.5], [0, 0, 1]]), np.zeros(0), "", ""
)


@pytest.fixture(scope="module")
def table() -> np.ndarray:
    """A plain red box with a lid, and a few other plain things, on a plain table."""
    rgb = np.full((HEIGHT, WIDTH, 3), (128, 122, 110), np.uint8)
    cv2.rectangle(rgb, (290, 215), (375, 290), (200, 30, 30), -1)
    cv2.rectangle(rgb, (300, 225), (365, 255), (150, 20, 20), -1)
    cv2.circle(rgb, (150, 120), 40, (30, 60, 200), -1)
    cv2.rectangle(rgb, (470, 90), (540, 150), (40, 150, 60), -1)
    cv2.rectangle(rgb, (110, 340), (170, 420), (240, 240, 235), -1)
    cv2.ellipse(rgb, (500, 360), (50, 30), 20, 0, 360, (230, 220, 40), -1)
    return cv2.GaussianBlur(rgb, (0, 0), 1.0)


def moved(rgb, matrix) -> np.ndarray:
    """The picture after a (2, 3) motion, on the colour of the table."""
    return cv2.warpAffine(
        rgb, np.array(matrix, float), (WIDTH, HEIGHT), borderValue=(128, 122, 110)
    )


def around(pixel, degrees=0.0, scale=1.0, shift=(0.0, 0.0)) -> np.ndarray:
    """The (2, 3) motion that turns and scales about a pixel, then shifts."""
    matrix = cv2.getRotationMatrix2D(pixel, -degrees, scale)
    matrix[:, 2] += shift
    return matrix


def at(number: int, rgb, depth_m=None, camera=None):
    return glimpse(100 + number / 30, rgb, depth_m, camera)


def tracked(pictures, spot=SPOT):
    """The point after all pictures, of which the first is the one it was named in."""
    tracker = Tracker(at(0, pictures[0]), [spot])
    for number, rgb in enumerate(pictures[1:], 1):
        (point,) = tracker.step(at(number, rgb))
    return point


@pytest.mark.parametrize(
    "motion",
    [
        {"shift": (60.0, -45.0)},
        {"degrees": 50.0},
        {"scale": 1.8},
        {"scale": 0.6},
        {"degrees": -30.0, "scale": 1.3, "shift": (-40.0, 20.0)},
    ],
)
def test_a_point_goes_where_its_picture_goes(table, motion):
    """Turned and scaled about another pixel, so that the point moves in each case."""
    centre = (300.0, 220.0)
    steps = np.linspace(0, 1, 31)
    matrices = [
        around(
            centre,
            motion.get("degrees", 0.0) * t,
            motion.get("scale", 1.0) ** t,
            np.multiply(motion.get("shift", (0.0, 0.0)), t),
        )
        for t in steps
    ]
    point = tracked([moved(table, matrix) for matrix in matrices])
    assert point.confidence > 0.5
    assert point.pixel == pytest.approx(
        matrices[-1] @ [*SPOT, 1.0], abs=2.0
    )  # a pixel of a glimpse


def test_standing_still_is_standing_still(table):
    noise = np.random.default_rng(0).normal(0, 3, (20, *table.shape))
    point = tracked([np.clip(table + each, 0, 255).astype(np.uint8) for each in noise])
    assert point.pixel == pytest.approx(SPOT, abs=SUBPIXEL)
    assert point.confidence > 0.7


def test_a_change_of_brightness_moves_nothing(table):
    darker = [np.uint8(table * factor) for factor in np.linspace(1, 0.6, 10)]
    point = tracked([table, *darker, moved(darker[-1], around(SPOT, shift=(10, 5)))])
    assert point.pixel == pytest.approx(np.add(SPOT, (10, 5)), abs=1.0)
    assert point.confidence > 0.7


def test_a_covered_point_is_lost_and_found_again_when_it_is_uncovered(table):
    hand = table.copy()
    cv2.circle(hand, (330, 260), 90, (70, 50, 40), -1)
    tracker = Tracker(at(0, table), [SPOT])
    states = [tracker.step(at(n, rgb))[0] for n, rgb in enumerate([table, hand, hand, table], 1)]
    assert [state.is_lost for state in states] == [False, True, True, False]
    assert states[-1].pixel == pytest.approx(SPOT, abs=SUBPIXEL)


def test_a_point_covered_for_long_is_given_up(table):
    """Nothing told how it moved meanwhile: what looks like it there may be its twin."""
    hand = table.copy()
    cv2.circle(hand, (330, 260), 90, (70, 50, 40), -1)
    assert tracked([table, *[hand] * 40, table]).is_lost


def test_another_thing_in_its_place_is_not_the_point(table):
    other = table.copy()
    cv2.rectangle(other, (290, 215), (375, 290), (30, 160, 40), -1)
    assert tracked([table, table, other]).is_lost


def test_a_thing_that_is_taken_away_is_lost(table):
    empty = table.copy()
    cv2.rectangle(empty, (280, 205), (385, 300), (128, 122, 110), -1)
    assert tracked([table, table, empty]).is_lost


def test_a_point_that_leaves_the_picture_is_lost(table):
    way = [moved(table, around(SPOT, shift=(12.0 * step, 0))) for step in range(31)]
    assert tracked(way).is_lost


def test_a_plain_surface_holds_no_point():
    plain = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
    assert tracked([plain, plain]).is_lost


def test_an_edge_alone_holds_no_point():
    """Along a straight edge everything looks alike."""
    edge = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
    edge[250:] = 60
    assert tracked([edge, edge]).is_lost


def test_each_of_several_points_is_told_apart(table):
    covered = table.copy()
    cv2.circle(covered, (150, 120), 70, (70, 50, 40), -1)
    tracker = Tracker(at(0, table), [SPOT, (150.0, 120.0), (500.0, 360.0)])
    points = tracker.step(at(1, covered))
    assert [point.is_lost for point in points] == [False, True, False]


def test_a_new_resolution_is_refused(table):
    tracker = Tracker(at(0, table), [SPOT])
    with pytest.raises(ValueError, match="change of resolution"):
        tracker.step(at(1, table[:240]))


def test_nearer_depth_hides_a_point_that_looks_the_same(table):
    far = np.full((HEIGHT, WIDTH), 0.6, np.float32)
    near = far.copy()
    near[200:300, 280:390] = 0.4
    tracker = Tracker(at(0, table, far, CAMERA), [SPOT])
    states = [tracker.step(at(n, table, d, CAMERA))[0] for n, d in enumerate([far, near, far], 1)]
    assert [state.is_lost for state in states] == [False, True, False]


def test_with_depth_a_point_is_known_again_after_the_camera_moved_on(table):
    """It was covered while everything moved: only the scene tells where it must be."""
    depth_m = np.full((HEIGHT, WIDTH), 0.6, np.float32)
    tracker = Tracker(at(0, table, depth_m, CAMERA), [SPOT])
    for step in range(1, 61):
        matrix = around(SPOT, shift=(step, 0.5 * step))
        rgb = moved(table, matrix)
        if step < 50:
            u, v = matrix @ [*SPOT, 1.0]
            cv2.circle(rgb, (int(u), int(v)), 80, (70, 50, 40), -1)
        (point,) = tracker.step(at(step, rgb, depth_m, CAMERA))
        assert point.is_lost == (step < 50)
    assert point.pixel == pytest.approx(np.add(SPOT, (60, 30)), abs=2.0)


def test_depth_now_and_then_is_enough(table):
    """The template of the scene is a glimpse that had depth; a moment without is no harm."""
    depth_m = np.full((HEIGHT, WIDTH), 0.6, np.float32)
    tracker = Tracker(at(0, table, depth_m, CAMERA), [SPOT])
    for step in range(1, 41):
        rgb = moved(table, around(SPOT, shift=(2 * step, -step)))
        if step == 20:
            rgb = np.full_like(table, 90)  # a picture that tells nothing
        seen = depth_m if step % 5 == 0 else None
        (point,) = tracker.step(at(step, rgb, seen, CAMERA))
        assert point.is_lost == (step == 20)
    assert point.pixel == pytest.approx(np.add(SPOT, (80, -40)), abs=2.0)


def test_a_thing_that_moves_by_itself_is_followed(table):
    """The camera rests, the box is pushed."""
    depth_m = np.full((HEIGHT, WIDTH), 0.6, np.float32)
    empty = table.copy()
    cv2.rectangle(empty, (280, 205), (385, 300), (128, 122, 110), -1)
    tracker = Tracker(at(0, table, depth_m, CAMERA), [SPOT])
    for step in range(1, 31):
        rgb = empty.copy()
        rgb[205:300, 280 + 2 * step : 385 + 2 * step] = table[205:300, 280:385]
        (point,) = tracker.step(at(step, rgb, depth_m, CAMERA))
    assert point.pixel == pytest.approx((SPOT[0] + 60, SPOT[1]), abs=4.0)
