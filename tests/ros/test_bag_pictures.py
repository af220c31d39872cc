"""Pictures out of a bag: which, their pixels, their lines; nothing is lost of a folder."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from recordings import DEPTH, FIRST_NS, IMAGE, shot, stamp, write_bag
from rosbags.rosbag2 import StoragePlugin
from sensor_msgs.msg import CompressedImage, Image

from molmo_ros.bag_labels import LabelError
from molmo_ros.bag_pictures import Selection, take_labelled, take_pictures
from molmo_ros.bags import BagError
from molmo_ros.convert import fill_image, to_rgb

SECOND_NS = 1_000_000_000


def rgb(number: int) -> np.ndarray:
    """A picture, 32 x 24, of which no two are alike."""
    return np.random.default_rng(number).integers(0, 255, (24, 32, 3), np.uint8)


def film(count: int, topic: str = IMAGE, every_ns: int = SECOND_NS // 2) -> list:
    entries = []
    for number in range(count):
        image, time_ns = Image(), FIRST_NS + number * every_ns
        fill_image(image, rgb(number))
        entries.append((topic, time_ns, stamp(image, time_ns)))
    return entries


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    """Ten images in five seconds."""
    return write_bag(tmp_path_factory.mktemp("bags") / "film", film(10))


def rows(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def snapshot(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def anything(row, size):
    """Finds nothing wrong."""


def test_a_picture_a_second_gets_a_line_for_each_label(bag, tmp_path):
    taken = take_pictures(bag, tmp_path / "shelf", Selection(), ["mug", "mugs"])
    assert (taken.topic, taken.pictures, taken.lines, taken.broken) == (IMAGE, 5, 10, 0)
    lines = rows(tmp_path / "shelf" / "data.jsonl")
    assert [line["frame"] for line in lines] == [0, 0, 2, 2, 4, 4, 6, 6, 8, 8]
    assert lines[3] == {
        "image": "film/000002.png",
        "stamp": "1700000001.000000000",
        "frame": 2,
        "label": "mugs",
        "points": None,
    }
    picture = cv2.imread(str(tmp_path / "shelf" / lines[3]["image"]))[:, :, ::-1]
    assert np.array_equal(picture, rgb(2))
    assert not list((tmp_path / "shelf").glob(".*"))


@pytest.mark.parametrize(
    ("selection", "numbers"),
    [
        (Selection(every_s=0), list(range(10))),
        (Selection(every_s=2.0), [0, 4, 8]),
        (Selection(every_s=0, start_s=1.5, end_s=3.0), [3, 4, 5]),
        (Selection(every_s=1.0, start_s=0.5), [1, 3, 5, 7, 9]),
    ],
)
def test_pictures_are_taken_as_they_are_wished(bag, tmp_path, selection, numbers):
    take_pictures(bag, tmp_path, selection, [])
    assert [line["frame"] for line in rows(tmp_path / "data.jsonl")] == numbers


def test_the_last_pictures_are_kept_for_the_test(bag, tmp_path):
    taken = take_pictures(bag, tmp_path, Selection(every_s=0), ["a", "b"], 0.3)
    assert (taken.lines, taken.test_lines) == (14, 6)
    assert [line["frame"] for line in rows(tmp_path / "test.jsonl")] == [7, 7, 8, 8, 9, 9]


def test_labels_keep_their_words_and_gain_their_picture(bag, tmp_path):
    label = {"label": "mug", "points": [[3, 4]], "by": "Ada"}
    labels = tmp_path / "labels.jsonl"
    by_stamp, by_number = label | {"stamp": 1700000001.5}, label | {"frame": 1, "points": []}
    labels.write_text("\n".join(map(json.dumps, (by_stamp, by_number, label | {"frame": 3}))))
    seen = []
    taken = take_labelled(bag, tmp_path / "shelf", labels, lambda *some: seen.append(some))
    assert (taken.pictures, taken.lines) == (2, 3)
    lines = rows(tmp_path / "shelf" / "data.jsonl")
    assert [(line["image"], line["points"]) for line in lines] == [
        ("film/000001.png", []),
        ("film/000003.png", [[3, 4]]),
        ("film/000003.png", [[3, 4]]),
    ]
    assert {line["by"] for line in lines} == {"Ada"}
    assert {size for _, size in seen} == {(32, 24)} and len(seen) == 3
    # What was written may name the pictures again.
    again = take_labelled(bag, tmp_path / "again", tmp_path / "shelf" / "data.jsonl", anything)
    assert again.lines == 3


def test_a_label_that_its_reader_refuses_is_named_and_nothing_is_written(bag, tmp_path):
    labels = tmp_path / "labels.jsonl"
    labels.write_text('{"frame": 2, "points": []}\n{"frame": 1, "points": [[99, 1]]}\n')

    def check(row, size):
        if any(x > size[0] for x, _ in row["points"]):
            raise ValueError("outside")

    with pytest.raises(LabelError, match=r"labels\.jsonl, line 2: outside"):
        take_labelled(bag, tmp_path / "shelf", labels, check)
    assert snapshot(tmp_path / "shelf") == {}


def test_a_second_bag_is_added_and_no_word_of_the_first_is_lost(bag, tmp_path):
    take_pictures(bag, tmp_path, Selection(), ["mug"])
    by_hand = (tmp_path / "data.jsonl").read_text().replace("null", "[[1, 2]]").rstrip("\n")
    (tmp_path / "data.jsonl").write_text(by_hand)
    before = snapshot(tmp_path)
    with pytest.raises(LabelError, match="film is there already, and maybe labelled"):
        take_pictures(bag, tmp_path, Selection(), ["mug"])
    assert snapshot(tmp_path) == before
    other = write_bag(tmp_path / "bags" / "other.day.1", film(2))
    taken = take_pictures(other, tmp_path, Selection(), ["mug"])
    assert taken.directory == tmp_path / "other.day.1"
    lines = (tmp_path / "data.jsonl").read_text()
    assert lines.startswith(by_hand + "\n") and len(lines.splitlines()) == 6
    assert before.items() - {("data.jsonl", before["data.jsonl"])} <= snapshot(tmp_path).items()


def test_what_a_damaged_image_shows_is_left_out_unless_it_is_labelled(tmp_path):
    entries = film(2)
    entries.append((IMAGE, FIRST_NS + 3 * SECOND_NS, b"\x00\x01\x00\x00damaged, and no image"))
    bag = write_bag(tmp_path / "damaged", entries)
    taken = take_pictures(bag, tmp_path / "shelf", Selection(every_s=0), [])
    assert (taken.pictures, taken.broken) == (2, 1)
    labels = tmp_path / "labels.jsonl"
    labels.write_text('{"frame": 2, "label": "mug", "points": []}')
    with pytest.raises(LabelError, match=f"frame 2 of {IMAGE}: the message is damaged"):
        take_labelled(bag, tmp_path / "labelled", labels, anything)
    assert snapshot(tmp_path / "labelled") == {}


@pytest.mark.parametrize("plugin", StoragePlugin)
def test_compressed_images_of_either_kind_of_bag_are_pictures(tmp_path, plugin):
    _, data = cv2.imencode(".png", rgb(7)[:, :, ::-1])
    packed = CompressedImage(format="rgb8; png compressed bgr8", data=data.tobytes())
    topic = f"{IMAGE}/compressed"
    entries = [(topic, FIRST_NS, stamp(packed, FIRST_NS)), *shot(37, FIRST_NS)[1:]]
    bag = write_bag(tmp_path / "packed", entries, plugin=plugin)
    assert take_pictures(bag, tmp_path / "shelf", Selection(), []).topic == topic
    picture = cv2.imread(str(tmp_path / "shelf" / "packed" / "000000.png"))
    assert np.array_equal(picture[:, :, ::-1], rgb(7))


def test_a_topic_is_named_where_there_are_two(tmp_path):
    left, right = "/left/image_raw", "/right/image_raw"
    bag = write_bag(tmp_path / "pair", film(2, left) + film(2, right))
    with pytest.raises(BagError, match="which is the image topic.* --image"):
        take_pictures(bag, tmp_path / "shelf", Selection(), [])
    with pytest.raises(BagError, match=f"no image topic /top .found: {left}, {right}"):
        take_pictures(bag, tmp_path / "shelf", Selection(image="/top"), [])
    assert not (tmp_path / "shelf").exists()
    taken = take_pictures(bag, tmp_path / "shelf", Selection(image=right), [])
    assert taken.topic == right


def test_a_bag_without_the_wanted_images_is_refused(bag, tmp_path):
    with pytest.raises(BagError, match="no image on .* in this part"):
        take_pictures(bag, tmp_path / "shelf", Selection(start_s=60), [])
    bare = write_bag(tmp_path / "bare", [one for one in shot(37, FIRST_NS) if one[0] == DEPTH])
    with pytest.raises(BagError, match="no colour image topic"):
        take_pictures(bare, tmp_path / "shelf", Selection(), [])
    with pytest.raises(BagError, match="not a readable ROS 2 bag"):
        take_pictures(tmp_path / "none", tmp_path / "shelf", Selection(), [])
    assert not (tmp_path / "shelf").exists()


def test_pictures_are_what_the_node_shows_the_model(test_data, tmp_path):
    from rosbags.highlevel import AnyReader

    bag = test_data / "bags" / "mosd_tabletop"
    taken = take_pictures(bag, tmp_path, Selection(every_s=5.0), [])
    (line, *_) = rows(tmp_path / "data.jsonl")
    with AnyReader([bag]) as reader:
        connections = [one for one in reader.connections if one.topic == taken.topic]
        connection, _, raw = next(reader.messages(connections))
        shown = to_rgb(reader.deserialize(raw, connection.msgtype))
    assert np.array_equal(cv2.imread(str(tmp_path / line["image"]))[:, :, ::-1], shown)
