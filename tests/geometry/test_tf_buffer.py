"""How frames lay at one instant, against numbers computed by hand."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from molmo_ros.tf_buffer import TransformBuffer, TransformError

S = 1_000_000_000  # nanoseconds
NO_TURN = (0.0, 0.0, 0.0, 1.0)


def about_z(degrees):
    half = np.radians(degrees) / 2
    return (0.0, 0.0, np.sin(half), np.cos(half))


def buffer(length_s=10.0):
    return TransformBuffer(length_s)


def moving_wrist():
    """base > wrist moves 1 m along x and turns by 90 degrees within a second, from 10 s on."""
    tree = buffer()
    tree.put("base", "wrist", 10 * S, (0, 0, 1), NO_TURN)
    tree.put("base", "wrist", 11 * S, (1, 0, 1), about_z(90))
    return tree


def carried(tree, point, stamp_ns, target="base", source="wrist"):
    found = tree.lookup(target, source, stamp_ns)
    return found.rotation @ np.array(point, float) + found.translation


def test_between_two_samples_the_pose_is_interpolated_as_by_hand():
    # a third of the way: 30 degrees, and a third of a metre
    expected = [1 / 3 + np.cos(np.pi / 6), np.sin(np.pi / 6), 1]
    third = 10 * S + S // 3
    np.testing.assert_allclose(carried(moving_wrist(), (1, 0, 0), third), expected, atol=1e-8)


def test_at_a_sample_it_is_that_sample():
    np.testing.assert_allclose(carried(moving_wrist(), (1, 0, 0), 11 * S), [1, 1, 1], atol=1e-12)


def test_the_shorter_turn_is_taken_whatever_the_signs_of_the_quaternions():
    tree = buffer()
    tree.put("base", "wrist", 0, (0, 0, 0), about_z(10))
    tree.put("base", "wrist", S, (0, 0, 0), tuple(-np.array(about_z(30))))
    expected = [np.cos(np.radians(20)), np.sin(np.radians(20)), 0]
    np.testing.assert_allclose(carried(tree, (1, 0, 0), S // 2), expected, atol=1e-12)


def test_a_chain_goes_up_and_down_and_static_parts_hold_at_all_times():
    tree = moving_wrist()
    tree.put("wrist", "camera", 0, (0, 0, 0.1), about_z(90), is_static=True)
    tree.put("base", "table", 5 * S, (2, 0, 0), about_z(180), is_static=True)
    # camera's x is the wrist's y; at 11 s the wrist's y is -x of the base, the table's x is that
    expected_base = [1 - 1, 0, 1.1]
    np.testing.assert_allclose(
        carried(tree, (1, 0, 0), 11 * S, source="camera"), expected_base, atol=1e-12
    )
    expected_table = [2, 0, 1.1]
    np.testing.assert_allclose(
        carried(tree, (1, 0, 0), 11 * S, "table", "camera"), expected_table, atol=1e-12
    )
    np.testing.assert_allclose(carried(tree, (0, 0, 0), 1, "base", "table"), [2, 0, 0])


def test_there_and_back_is_where_it_began():
    tree = moving_wrist()
    there = tree.lookup("base", "wrist", 10 * S + 12345)
    back = tree.lookup("wrist", "base", 10 * S + 12345)
    np.testing.assert_allclose(back.after(there).rotation, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(back.after(there).translation, 0, atol=1e-12)


def test_a_frame_lies_in_itself():
    np.testing.assert_array_equal(moving_wrist().lookup("wrist", "wrist", 0).rotation, np.eye(3))


def test_what_is_above_the_common_parent_does_not_matter():
    tree = moving_wrist()
    tree.put("world", "base", 99 * S, (0, 0, 0), NO_TURN)  # unknown at 10.5 s
    assert carried(tree, (0, 0, 0), 10 * S + S // 2)[0] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("target", "source", "stamp_ns", "says"),
    [
        ("base", "wrist", 12 * S, "'wrist' in 'base' is known until 1.000 s before the image"),
        ("base", "wrist", 9 * S, "'wrist' in 'base' is known from 1.000 s after the image on"),
        ("base", "head", 10 * S, "frame 'head' is not known; known are base, lamp, room, wrist"),
        ("lamp", "wrist", 10 * S, "'wrist' hangs on 'base', 'lamp' on 'room'"),
    ],
)
def test_what_is_not_known_is_said(target, source, stamp_ns, says):
    tree = moving_wrist()
    tree.put("room", "lamp", 0, (0, 0, 0), NO_TURN, is_static=True)
    with pytest.raises(TransformError, match=says):
        tree.lookup(target, source, stamp_ns)


def test_an_empty_buffer_says_that_nothing_has_arrived():
    with pytest.raises(TransformError, match="no transform has arrived"):
        buffer().lookup("base", "wrist", 0)


def test_frames_that_hang_on_each_other_are_refused():
    tree = buffer()
    for parent, child in (("a", "b"), ("b", "c"), ("c", "a")):
        tree.put(parent, child, S, (0, 0, 0), NO_TURN)
    with pytest.raises(TransformError, match="loop: a > c > b > a"):
        tree.lookup("b", "a", S)


def test_under_a_new_parent_the_old_positions_are_forgotten():
    tree = moving_wrist()
    tree.put("hand", "wrist", 11 * S, (0, 0, 0), NO_TURN)
    with pytest.raises(TransformError, match="frame 'base' is not known"):
        tree.lookup("base", "wrist", 10 * S)
    with pytest.raises(TransformError, match="known from 1.000 s after"):
        tree.lookup("hand", "wrist", 10 * S)


def test_samples_may_come_out_of_order_and_twice():
    tree = buffer()
    for stamp_s, x in ((2, 2.0), (0, 0.0), (1, 7.0), (1, 1.0)):
        tree.put("base", "wrist", stamp_s * S, (x, 0, 0), NO_TURN)
    assert carried(tree, (0, 0, 0), S // 2)[0] == pytest.approx(0.5)
    assert carried(tree, (0, 0, 0), 3 * S // 2)[0] == pytest.approx(1.5)


def test_only_the_last_seconds_are_kept():
    tree = buffer(length_s=2.0)
    for stamp_s in range(10):
        tree.put("base", "wrist", stamp_s * S, (stamp_s, 0, 0), NO_TURN)
    assert carried(tree, (0, 0, 0), 15 * S // 2)[0] == pytest.approx(7.5)
    with pytest.raises(TransformError, match="from 1.000 s after"):
        tree.lookup("base", "wrist", 6 * S)


def test_a_recording_that_starts_over_begins_anew():
    tree = buffer(length_s=2.0)
    for stamp_s in (50, 51, 0, 1):
        tree.put("base", "wrist", stamp_s * S, (stamp_s, 0, 0), NO_TURN)
    assert carried(tree, (0, 0, 0), S // 2)[0] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("parent", "child", "translation", "xyzw", "says"),
    [
        ("base", "wrist", (0, 0, 0), (0, 0, 0, 0), "length 0, wanted 1"),
        ("base", "wrist", (0, 0, 0), (0, 0, 0, 1.2), "length 1.2, wanted 1"),
        ("base", "wrist", (0, 0, 0), (np.nan, 0, 0, 1), "length nan, wanted 1"),
        ("base", "wrist", (0, np.inf, 0), NO_TURN, "translation .*inf"),
        ("base", "base", (0, 0, 0), NO_TURN, "two different frames"),
        ("", "wrist", (0, 0, 0), NO_TURN, "two different frames"),
    ],
)
def test_what_is_no_transform_is_refused_and_the_rest_stays(
    parent, child, translation, xyzw, says
):
    tree = moving_wrist()
    with pytest.raises(ValueError, match=says):
        tree.put(parent, child, 12 * S, translation, xyzw)
    np.testing.assert_allclose(carried(tree, (1, 0, 0), 11 * S), [1, 1, 1], atol=1e-12)


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd"), st.integers(0, 5))))
def test_whatever_arrives_a_lookup_answers_or_says_why_not(edges):
    tree = buffer()
    for parent, child, stamp in edges:
        if parent != child:
            tree.put(parent, child, stamp, (1, 0, 0), about_z(20), is_static=stamp == 0)
    for target in "abcd":
        try:
            found = tree.lookup(target, "a", 3)
        except TransformError as error:
            assert str(error)
        else:
            np.testing.assert_allclose(found.rotation @ found.rotation.T, np.eye(3), atol=1e-9)


def test_it_may_be_fed_while_it_is_asked():
    tree, done = buffer(length_s=0.001), threading.Event()
    tree.put("base", "wrist", 0, (0, 0, 0), NO_TURN)

    def feed():
        for stamp in range(1, 3000):
            tree.put("base", "wrist", stamp * 1000, (stamp, 0, 0), NO_TURN)
        done.set()

    feeder = threading.Thread(target=feed)
    feeder.start()
    while not done.is_set():
        try:
            tree.lookup("base", "wrist", 0)
        except TransformError as error:
            assert "after the image" in str(error)
    feeder.join()
    assert carried(tree, (0, 0, 0), 2999 * 1000)[0] == 2999
