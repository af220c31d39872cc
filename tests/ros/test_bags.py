"""Which topics of a bag are a camera's, and what is said about bags that cannot be read."""

import pytest
from recordings import DEPTH, FIRST_NS, IMAGE, INFO, shot, write_bag
from rosbags.rosbag2 import StoragePlugin

from molmo_ros.bags import (
    CAMERA_INFO,
    COMPRESSED,
    Bag,
    BagError,
    CameraTopics,
    choose_topics,
)
from molmo_ros.bags import IMAGE as RAW

CAMERA = {IMAGE: RAW, DEPTH: RAW, INFO: CAMERA_INFO}


def choose(streams, **named):
    return choose_topics("bag", streams, **named)


def test_the_only_topics_there_are_need_no_name():
    assert choose(CAMERA) == CameraTopics(IMAGE, DEPTH, INFO)


def test_a_camera_may_have_neither_depth_nor_intrinsics():
    assert choose({IMAGE: RAW}) == CameraTopics(IMAGE)


def test_pictures_that_are_there_twice_are_taken_raw():
    packed = {f"{IMAGE}/compressed": COMPRESSED, f"{DEPTH}/compressedDepth": COMPRESSED}
    assert choose(CAMERA | packed) == CameraTopics(IMAGE, DEPTH, INFO)
    assert choose(packed) == CameraTopics(*packed)


@pytest.mark.parametrize(
    ("what", "topic", "kind"),
    [("image", "/other/image_raw", RAW), ("depth", "/cam/depth/image_rect", RAW)],
)
def test_an_open_choice_is_left_to_the_user_with_all_candidates(what, topic, kind):
    with pytest.raises(BagError, match=f"which is the {what} topic.*{topic}.*--{what}") as said:
        choose(CAMERA | {topic: kind})
    assert CAMERA.keys() & set(str(said.value).replace(",", " ").split())
    named = {what: topic, "camera_info": INFO}
    assert getattr(choose(CAMERA | {topic: kind}, **named), what) == topic


def test_the_intrinsics_beside_the_image_are_its_own():
    others = {"/cam/depth/camera_info": CAMERA_INFO, "/a/camera_info": CAMERA_INFO}
    assert choose(CAMERA | others).camera_info == INFO
    assert choose(CAMERA | others, camera_info="/a/camera_info").camera_info == "/a/camera_info"
    with pytest.raises(BagError, match="--camera-info"):
        choose({IMAGE: RAW} | others)


def test_a_name_may_leave_the_transport_out():
    packed = {f"{IMAGE}/compressed": COMPRESSED, "/b/compressed": COMPRESSED}
    packed[f"{DEPTH}/compressedDepth"] = COMPRESSED
    found = choose(packed, image=IMAGE, depth=DEPTH)
    assert found == CameraTopics(f"{IMAGE}/compressed", f"{DEPTH}/compressedDepth")


def test_a_name_that_is_not_there_is_answered_with_those_that_are():
    with pytest.raises(BagError, match=f"no depth topic /dpeth.*{DEPTH}"):
        choose(CAMERA, depth="/dpeth")
    with pytest.raises(BagError, match=f"no camera-info topic {IMAGE}.*{INFO}"):
        choose(CAMERA, camera_info=IMAGE)


@pytest.fixture
def bag(tmp_path):
    return write_bag(tmp_path / "bag", shot(0, FIRST_NS) + shot(0, FIRST_NS + 10))


@pytest.mark.parametrize("plugin", list(StoragePlugin))
def test_directories_and_single_files_read_alike(tmp_path, plugin):
    bag = write_bag(tmp_path / "bag", shot(0, FIRST_NS), plugin=plugin)
    (file,) = (file for file in bag.iterdir() if file.suffix != ".yaml")
    with Bag(bag) as directory, Bag(file) as single:
        assert directory.streams == single.streams == CAMERA
        assert list(directory.read(CAMERA)) == list(single.read(CAMERA)) != []
        assert (single.start_ns, single.end_ns) == (FIRST_NS, FIRST_NS + 1)


def test_a_part_begins_with_its_start_and_ends_before_its_end(bag):
    with Bag(bag) as reader:
        times = {record.time_ns for record in reader.read([IMAGE], FIRST_NS, FIRST_NS + 10)}
    assert times == {FIRST_NS}


def test_a_recording_that_was_cut_off_names_what_saves_it(bag):
    file = bag / "bag.mcap"
    file.write_bytes(file.read_bytes()[:-1000])
    for path in (bag, file):
        with pytest.raises(BagError, match=f"{path}: .*cut off.*mcap recover {file}"):
            Bag(path)


def test_a_directory_without_metadata_names_what_writes_it(bag):
    (bag / "metadata.yaml").unlink()
    with pytest.raises(BagError, match=f"ros2 bag reindex {bag}"):
        Bag(bag)


def test_damage_in_the_middle_is_told_when_it_is_reached(bag):
    file = bag / "bag.mcap"
    raw = bytearray(file.read_bytes())
    raw[200:1200] = bytes(1000)
    file.write_bytes(raw)
    with pytest.raises(BagError, match=str(bag)), Bag(bag) as reader:
        list(reader.read(CAMERA))


def test_a_damaged_database_is_refused_by_name(tmp_path):
    bag = write_bag(tmp_path / "bag", shot(0, FIRST_NS), plugin=StoragePlugin.SQLITE3)
    file = bag / "bag.db3"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(BagError, match=str(bag)), Bag(bag) as reader:
        list(reader.read(CAMERA))


@pytest.mark.parametrize("name", ["notes.txt", "old.bag", "empty.mcap", "empty.db3"])
def test_what_is_no_bag_is_refused_by_name(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(BagError, match=f"{tmp_path / name}: not a readable ROS 2 bag"):
        Bag(tmp_path / name)
