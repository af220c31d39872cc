"""Waypoints in another frame, by the transforms that were recorded with the images."""

from __future__ import annotations

import numpy as np
import pytest
from recordings import FIRST_NS, read_bag, shot, transforms, write_bag
from rosbags.rosbag2 import StoragePlugin
from test_offline import Scripted

from molmo_ros.cell.camera_node import FRAME_ID
from molmo_ros.msg import Waypoint
from molmo_ros.offline import Order, answer_bag
from molmo_ros.parameters import Parameters

MS = 1_000_000
MOUNT = ("hand", FRAME_ID, (0.0, 0.0, 0.1), (0.0, 0.0, 0.0, 1.0))
HALF = np.sqrt(0.5)
BASE = ("base", "rail", (0.0, 0.0, 1.0), (0.0, 0.0, HALF, HALF))  # a quarter turn about z
SPEED_M_S = 2.0


def static(*frames):
    return [("/tf_static", FIRST_NS - MS, transforms(FIRST_NS - MS, *frames))]


def moving(from_ms, to_ms, late_ms=30):
    """The hand runs along the rail; each pose is recorded a little later than it was true."""
    return [
        (
            "/tf",
            FIRST_NS + (time_ms + late_ms) * MS,
            transforms(
                FIRST_NS + time_ms * MS,
                ("rail", "hand", (SPEED_M_S * time_ms / 1e3, 0, 0), (0, 0, 0, 1)),
            ),
        )
        for time_ms in range(from_ms, to_ms, 20)
    ]


def film(*times_ms):
    return [entry for time_ms in times_ms for entry in shot(37, FIRST_NS + time_ms * MS)]


def answers(tmp_path, entries, frame="base", plugin=StoragePlugin.MCAP, **options):
    """The messages on each topic of ours, without times, and the notes of the summary."""
    bag = write_bag(tmp_path / f"bag_{frame}", entries, plugin=plugin)
    order = Order(
        source=bag,
        output=tmp_path / f"answers_{frame}",
        prompts=["Where?"],
        settings=Parameters(target_frame=frame),
        every_s=0.0,
        **options,
    )
    figures = answer_bag(order, Scripted).figures()
    found = read_bag(order.output)
    return {
        name: [message for _, message in found[f"/molmo/{name}"]]
        for name in ("answer", "waypoints", "waypoint")
    }, figures["notes"]


def xyz(waypoint):
    at = waypoint.pose.pose.position
    return np.array([at.x, at.y, at.z])


@pytest.mark.parametrize("plugin", list(StoragePlugin))
def test_waypoints_are_where_the_hand_held_the_camera_then(tmp_path, plugin):
    times_ms = (7, 333, 1990)  # between the poses
    entries = [*film(*times_ms), *static(MOUNT, BASE), *moving(-100, 2100)]
    optical, _ = answers(tmp_path, entries, frame="")
    based, notes = answers(tmp_path, entries, plugin=plugin)
    assert notes == {}
    for time_ms, seen, got in zip(times_ms, optical["answer"], based["answer"], strict=True):
        (waypoint,) = got.waypoints
        x, y, z = xyz(seen.waypoints[0]) + [SPEED_M_S * time_ms / 1e3, 0, 0.1]
        np.testing.assert_allclose(xyz(waypoint), [-y, x, z + 1.0], atol=1e-6)
        assert (waypoint.header.frame_id, waypoint.optical_frame) == ("base", FRAME_ID)
        assert waypoint.header.stamp == got.header.stamp
    frames = {
        message.header.frame_id for name in based if name != "answer" for message in based[name]
    }
    assert frames == {"base"}


def test_what_was_static_before_a_part_holds_in_it(tmp_path):
    chain = static(MOUNT, BASE, ("rail", "hand", (0, 0, 0), (0, 0, 0, 1)))
    based, notes = answers(tmp_path, [*film(0, 5000), *chain], start_s=4.0, copies=False)
    assert notes == {}
    assert [len(answer.waypoints) for answer in based["answer"]] == [1]
    assert based["answer"][0].waypoints[0].status == Waypoint.OK


def test_a_pose_that_was_not_recorded_costs_the_waypoint_and_says_why(tmp_path):
    entries = [*film(0, 500), *static(MOUNT, BASE), *moving(-100, 200)]
    based, notes = answers(tmp_path, entries)
    assert [a.waypoints[0].status for a in based["answer"]] == [Waypoint.OK, Waypoint.NO_TF]
    assert [len(poses.poses) for poses in based["waypoints"]] == [1, 0]
    (note,) = notes
    assert f"'{FRAME_ID}' in 'base' is not known" in note and "recording holds /tf" in note
    assert based["answer"][1].message in note


def test_without_any_transforms_no_waypoint_is_usable(tmp_path):
    based, notes = answers(tmp_path, film(0, 100))
    assert {a.waypoints[0].status for a in based["answer"]} == {Waypoint.NO_TF}
    assert list(notes.values()) == [2]


def test_damaged_transforms_are_counted_and_harm_no_other(tmp_path):
    bad = transforms(FIRST_NS, ("rail", "hand", (0, 0, 0), (0, 0, 0, 0)), BASE)
    entries = [*film(0, 100), *static(MOUNT), *moving(-100, 200), ("/tf", FIRST_NS, bad)]
    entries.append(("/tf", FIRST_NS + 200 * MS, transforms(FIRST_NS + 200 * MS, BASE)))
    based, notes = answers(tmp_path, entries)
    assert {a.waypoints[0].status for a in based["answer"]} == {Waypoint.OK}
    assert notes == {"what came on /tf is damaged": 1}
