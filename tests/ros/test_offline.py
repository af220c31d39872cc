"""A bag in, a bag with answers out: where waypoints are, and what becomes of bad recordings."""

from __future__ import annotations

import json
import math
import sqlite3
from array import array

import numpy as np
import pytest
from recordings import DEPTH, FIRST_NS, IMAGE, INFO, read_bag, read_mcap, shot, stamp, write_bag
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import StoragePlugin
from sensor_msgs.msg import Image
from std_msgs.msg import String

from molmo_cli.models import open_bundle
from molmo_engine.records import Answer as Said
from molmo_engine.records import Done, PointFound
from molmo_model.points import Point
from molmo_ros import convert
from molmo_ros.bags import BagError
from molmo_ros.cell.camera_node import FRAME_ID
from molmo_ros.cell.truth import Truth
from molmo_ros.ending import Ending
from molmo_ros.msg import Answer, Waypoint
from molmo_ros.offline import Order, answer_bag

SEEDS = (37, 4, 11)
STEP_NS = 500_000_000
PROMPT = "Point to the objects."
LATCHED = Qos(
    QosHistory.KEEP_LAST,
    1,
    QosReliability.RELIABLE,
    QosDurability.TRANSIENT_LOCAL,
    QosTime(0, 0),
    QosTime(0, 0),
    QosLiveliness.AUTOMATIC,
    QosTime(0, 0),
    False,
)


class Scripted:
    """Points to the pixels that it is given for each picture, or fails as it is told to."""

    model_id, engine_id = "scripted", "none"

    def __init__(self, pixels=None, failure: Exception | None = None) -> None:
        """pixels: for each picture a list; the middle of each when not given."""
        self._pixels = pixels and iter(pixels)
        self._failure = failure

    def stream(self, rgb, prompt, options):
        if self._failure:
            raise self._failure
        height, width = rgb.shape[:2]
        pixels = next(self._pixels) if self._pixels else [(width / 2, height / 2)]
        found = tuple(PointFound(Point(50.0, 50.0, "it"), tuple(pixel), 0.9) for pixel in pixels)
        yield from found
        yield Done(Said(text="it", found=found))

    def close(self) -> None:
        pass


def film(*seeds: int, step_ns: int = STEP_NS):
    """Shots of simulated tables, one a step."""
    return [entry for n, seed in enumerate(seeds) for entry in shot(seed, FIRST_NS + n * step_ns)]


def run(source, prompts=("Where?",), predictor=None, **options):
    """Answers a bag, beside it; returns the summary's figures and what is in the new bag."""
    output = source.with_name("answers")
    order = Order(source=source, output=output, prompts=prompts, **options)
    summary = answer_bag(order, lambda: predictor or Scripted())
    return summary.figures(), read_bag(output)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """What Molmo-tiny says to three simulated tables."""
    bag = write_bag(tmp_path_factory.mktemp("simulated") / "bag", film(*SEEDS))
    return run(bag, (PROMPT, "Describe the table."), open_bundle(None), every_s=0.0)


def test_waypoints_are_where_the_named_things_are(simulated):
    _, topics = simulated
    misses_mm = []
    for seed, (_, answer) in zip(SEEDS, topics["/molmo/answer"][::2], strict=True):
        truth = Truth(seed)
        for waypoint in answer.waypoints:
            at = waypoint.pose.pose.position
            miss = truth.miss(np.array([at.x, at.y, at.z]), waypoint.label)
            misses_mm.append(miss.surface_mm if miss else math.inf)
    assert len(misses_mm) > 10
    assert np.median(misses_mm) < 2  # depth is exact here
    assert np.mean(np.less(misses_mm, 5)) > 0.9  # now and then the model misses a thing


def test_every_message_carries_the_header_and_the_time_of_its_image(simulated):
    _, topics = simulated
    images = {time_ns: image.header.stamp for time_ns, image in topics[IMAGE]}
    for name in ("answer", "waypoints", "waypoint", "annotated"):
        assert topics[f"/molmo/{name}"]
        for time_ns, message in topics[f"/molmo/{name}"]:
            assert message.header.stamp == images[time_ns]
            assert message.header.frame_id == FRAME_ID


def test_what_goes_out_is_what_the_node_would_publish(simulated):
    figures, topics = simulated
    assert {name: len(topics[f"/molmo/{name}"]) for name in ("answer", "text", "waypoints")} == {
        "answer": 6,
        "text": 6,
        "waypoints": 6,
    }
    for (_, answer), (_, poses) in zip(
        topics["/molmo/answer"], topics["/molmo/waypoints"], strict=True
    ):
        usable = [one.pose.pose for one in answer.waypoints if one.status == Waypoint.OK]
        assert poses.poses == usable
    assert figures["frames"] == 3 and figures["answers"] == 6
    assert figures["ok"] == figures["no_point"] == 3 and figures["errors"] == 0
    assert len(topics["/molmo/waypoint"]) == figures["ok"]


def test_markers_and_picture_show_all_answers_about_an_image(tmp_path):
    bag = write_bag(tmp_path / "bag", film(0))
    _, topics = run(bag, ("One?", "Two?"))
    ((_, markers),) = topics["/molmo/markers"]
    keys = [(marker.ns, marker.id) for marker in markers.markers[1:]]
    assert len(set(keys)) == len(keys) == 8
    ((_, picture),) = topics["/molmo/annotated"]
    changed = convert.to_rgb(picture) != convert.to_rgb(topics[IMAGE][0][1])
    assert 0 < changed.any(axis=2).mean() < 0.05


def test_the_recording_is_copied_unless_that_is_unwanted(tmp_path):
    chatter = ("/chatter", FIRST_NS + 1, String(data="hello"))
    bag = write_bag(tmp_path / "bag", [*film(0), chatter])
    _, topics = run(bag)
    assert {IMAGE, DEPTH, INFO, "/chatter"} < topics.keys()
    ((time_ns, message),) = topics["/chatter"]
    assert (time_ns, message.data) == (FIRST_NS + 1, "hello")
    _, topics = run(bag, force=True, copies=False)
    assert all(topic.startswith("/molmo/") for topic in topics)


def test_answers_are_given_at_the_pace_and_in_the_part_that_were_asked_for(tmp_path):
    bag = write_bag(tmp_path / "bag", film(*range(8)))
    times = {}
    for every_s, start_s, end_s in ((1.0, 0, math.inf), (0, 1.0, 2.5), (1.0, 0.4, 9.0)):
        figures, topics = run(bag, every_s=every_s, start_s=start_s, end_s=end_s, force=True)
        found = [(time_ns - FIRST_NS) / 1e9 for time_ns, _ in topics["/molmo/answer"]]
        times[every_s, start_s] = found
        assert figures["frames"] == len(found)
        copied = [(time_ns - FIRST_NS) / 1e9 for time_ns, _ in topics[IMAGE]]
        assert min(copied) >= start_s and max(copied) < end_s
    assert times == {
        (1.0, 0): [0.0, 1.0, 2.0, 3.0],
        (0, 1.0): [1.0, 1.5, 2.0],
        (1.0, 0.4): [0.5, 1.5, 2.5, 3.5],
    }


def test_what_was_latched_before_the_part_is_copied_to_its_start(tmp_path):
    early = [("/map_name", FIRST_NS, String(data="hall")), ("/news", FIRST_NS, String(data="old"))]
    bag = write_bag(tmp_path / "bag", [*film(0, 1, 2), *early], qos={"/map_name": LATCHED})
    _, topics = run(bag, start_s=0.9)
    ((time_ns, message),) = topics["/map_name"]
    assert (time_ns, message.data) == (FIRST_NS + 900_000_000, "hall")
    assert topics["/news"] == []


def test_a_part_without_anything_in_it_is_refused(tmp_path):
    bag = write_bag(tmp_path / "bag", film(0, 1))
    with pytest.raises(BagError, match=r"takes 0\.5 s: nothing of it lies between 7 and inf"):
        run(bag, start_s=7)
    assert [path.name for path in tmp_path.iterdir()] == ["bag"]


def test_images_that_cannot_be_shown_are_answered_with_why(tmp_path):
    odd = stamp(Image(height=2, width=2, step=2, encoding="palette8"), FIRST_NS)
    odd.data = array("B", bytes(4))
    entries = [(IMAGE, FIRST_NS, odd), *shot(0, FIRST_NS + STEP_NS)]
    figures, topics = run(write_bag(tmp_path / "bag", entries), every_s=0.0)
    (_, bad), (_, good) = topics["/molmo/answer"]
    assert (bad.status, good.status) == (Answer.BAD_FRAME, Answer.OK)
    assert "palette8" in bad.message and bad.header.frame_id == FRAME_ID
    assert len(topics["/molmo/text"]) == 1
    assert (figures["ok"], figures["errors"]) == (1, 1)
    assert any(note.startswith("BAD_FRAME") for note in figures["notes"])


@pytest.mark.parametrize(
    ("left_out", "status", "word"),
    [(DEPTH, "NO_DEPTH", "no depth image"), (INFO, "NO_CAMERA_INFO", "camera_info")],
)
def test_frames_without_depth_or_intrinsics_have_answers_but_no_poses(
    tmp_path, left_out, status, word
):
    entries = [entry for entry in film(0, 1) if entry[0] != left_out]
    figures, topics = run(write_bag(tmp_path / "bag", entries), every_s=0.0)
    assert figures["waypoints"] == {status: 2}
    assert [times for note, times in figures["notes"].items() if word in note] == [2]
    assert [len(poses.poses) for _, poses in topics["/molmo/waypoints"]] == [0, 0]
    assert topics["/molmo/waypoint"] == []


def test_an_engine_that_fails_is_in_the_answers_and_in_the_count(tmp_path):
    bag = write_bag(tmp_path / "bag", film(0, 1))
    figures, topics = run(
        bag, predictor=Scripted(failure=RuntimeError("out of memory")), every_s=0.0
    )
    assert [answer.status for _, answer in topics["/molmo/answer"]] == [Ending.ENGINE_ERROR] * 2
    assert figures["errors"] == 2
    assert figures["notes"] == {"ENGINE_ERROR: RuntimeError: out of memory": 2}


def test_damaged_messages_are_skipped_and_counted(tmp_path):
    entries = [*film(0, 1), (IMAGE, FIRST_NS + 2 * STEP_NS, b"\0\1\0\0" + bytes(20))]
    figures, topics = run(write_bag(tmp_path / "bag", entries), every_s=0.0, copies=False)
    assert figures["frames"] == 2
    assert figures["notes"] == {f"what came on {IMAGE} is damaged": 1}


def test_a_recording_of_nothing_but_damage_leaves_no_bag(tmp_path):
    bag = write_bag(tmp_path / "bag", [(IMAGE, FIRST_NS, b"\0\1\0\0" + bytes(20))])
    with pytest.raises(BagError, match=f"no readable image on {IMAGE}"):
        run(bag)
    assert [path.name for path in tmp_path.iterdir()] == ["bag"]


def test_the_model_is_loaded_for_a_fit_recording_only(tmp_path):
    bag = write_bag(tmp_path / "bag", [("/chatter", FIRST_NS, String())])
    order = Order(source=bag, output=tmp_path / "new", prompts=["Where?"])
    with pytest.raises(BagError, match="no colour image"):
        answer_bag(order, lambda: pytest.fail("was loaded"))


def test_answers_can_be_answered_again(tmp_path):
    first = write_bag(tmp_path / "first", film(0))
    run(first, ("One?",))
    again = tmp_path / "again"
    order = Order(source=tmp_path / "answers", output=again, prompts=["Two?"])
    figures = answer_bag(order, Scripted).figures()
    assert figures["topics"]["image"] == IMAGE
    assert "/molmo/answer of the recording is replaced by the new answers" in figures["notes"]
    assert [answer.prompt for _, answer in read_bag(again)["/molmo/answer"]] == ["Two?"]


def test_an_old_database_without_definitions_is_answered_and_copied(tmp_path):
    bag = write_bag(tmp_path / "bag", film(0), plugin=StoragePlugin.SQLITE3)
    with sqlite3.connect(bag / "bag.db3") as database:
        database.execute("DELETE FROM message_definitions")
    database.close()
    _, topics = run(bag)
    assert topics.keys() > {IMAGE, DEPTH, INFO, "/molmo/answer"}


def test_waypoints_of_recorded_kinect_tables_are_where_their_clouds_say(tmp_path, test_data):
    """Molmo-tiny knows no such things: the truth itself points to them."""
    truth = json.loads((test_data / "bags" / "mosd_truth.json").read_text())
    scenes = [
        scene["objects"] for scene in sorted(truth.values(), key=lambda one: one["stamp_ns"])
    ]
    predictor = Scripted([[one["pixel"] for one in objects] for objects in scenes])
    bag = test_data / "bags" / "mosd_tabletop"
    order = Order(source=bag, output=tmp_path / "new.mcap", prompts=["Where?"], every_s=0.0)
    figures = answer_bag(order, lambda: predictor).figures()
    assert (figures["frames"], figures["errors"]) == (10, 0)
    misses_m = [
        math.dist((at.position.x, at.position.y, at.position.z), one["xyz"])
        for (_, answer), objects in zip(
            read_mcap(tmp_path / "new.mcap")["/molmo/answer"], scenes, strict=True
        )
        for at, one in zip((w.pose.pose for w in answer.waypoints), objects, strict=True)
    ]
    assert len(misses_m) == 72
    assert np.mean(np.less(misses_m, 0.005)) >= 0.95  # NaN, where there is no depth, is a miss


def test_recorded_bins_are_answered(tmp_path, test_data):
    order = Order(
        source=test_data / "bags" / "arc_bins", output=tmp_path / "new", prompts=["Where?"]
    )
    figures = answer_bag(order, Scripted).figures()
    assert figures["topics"]["depth"].endswith("/compressedDepth")
    assert (figures["frames"], figures["errors"]) == (3, 0)
