import numpy as np
import pytest

from molmo_engine.records import PointFound
from molmo_model.points import Point
from molmo_ros.views import COLOURS, draw_points


def found(u, v, label="red cube", confidence=1.0):
    return PointFound(Point(0.0, 0.0, label), (u, v), confidence)


@pytest.fixture
def grey():
    picture = np.full((480, 640, 3), 128, np.uint8)
    picture.flags.writeable = False  # as a view into a message of bytes
    return picture


def has(picture, colour):
    return (picture == colour).all(axis=2)


def test_the_picture_itself_is_left_alone(grey):
    drawn = draw_points(grey, [found(100, 100)])
    assert (grey == 128).all()
    assert not np.shares_memory(drawn, grey)


def test_no_points_leave_the_picture_as_it_is(grey):
    np.testing.assert_array_equal(draw_points(grey, []), grey)


def test_a_ring_surrounds_the_point_and_leaves_it_visible(grey):
    drawn = draw_points(grey, [found(300.2, 199.6)])
    ring = np.argwhere(has(drawn, COLOURS[0])[:, :308])
    np.testing.assert_allclose(ring.mean(axis=0), [200, 300], atol=0.5)
    assert (drawn[200, 300] == 128).all()


def test_every_point_has_a_colour_of_its_own(grey):
    drawn = draw_points(grey, [found(100, 100), found(400, 300)])
    assert has(drawn, COLOURS[0])[:200].any()
    assert has(drawn, COLOURS[1])[200:].any()


@pytest.mark.parametrize("at", [(-0.5, -0.5), (639.5, 479.5), (639.5, 0), (0, 479.5)])
def test_a_label_at_the_border_stays_inside(grey, at):
    inside = draw_points(grey, [found(320, 240)])
    border = draw_points(grey, [found(*at)])
    dark = [(picture < 40).all(axis=2).sum() for picture in (inside, border)]
    assert dark[1] > 0.8 * dark[0]  # most of the box; only the marker is cut


def test_labels_of_neighbours_do_not_cover_each_other(grey):
    one = (draw_points(grey, [found(300, 200)]) < 40).all(axis=2).sum()
    two = (draw_points(grey, [found(300, 200), found(302, 203)]) < 40).all(axis=2).sum()
    assert two > 1.7 * one


def test_a_tiny_picture_can_be_drawn_on():
    assert draw_points(np.zeros((8, 8, 3), np.uint8), [found(4, 4)]).shape == (8, 8, 3)


@pytest.mark.parametrize("confidence", [0.1, 0.4, 1.0])
def test_a_line_below_the_label_is_as_long_as_the_model_is_sure(grey, confidence):
    unsure = draw_points(grey, [found(300, 200, confidence=0.0)])
    box = (unsure[:, 312:] < 40).all(axis=2)  # right of the marker
    drawn = draw_points(grey, [found(300, 200, confidence=confidence)])
    line = np.argwhere((drawn != unsure).any(axis=2))
    assert line[:, 0].min() > 200
    length = np.ptp(line[:, 1]) + 1
    assert length == pytest.approx(confidence * box.any(axis=0).sum(), abs=1)


def test_what_a_gripper_cannot_go_to_is_crossed_out(grey):
    drawn = draw_points(grey, [found(100, 100), found(400, 300)], usable=[True, False])
    assert (drawn[100, 100] == 128).all()
    assert (drawn[300, 400] == COLOURS[1]).all()
    crossed, ringed = (has(drawn, COLOURS[n])[at] for n, at in ((1, (303, 403)), (0, (103, 103))))
    assert crossed and not ringed
