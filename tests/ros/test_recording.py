"""Recorded cameras: which topics they have, and what restamping changes."""

import itertools
import struct

import numpy as np
import pytest
from rclpy.serialization import deserialize_message, serialize_message
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from sensor_msgs.msg import CameraInfo, Image

from molmo_ros.bags import CAMERA_INFO, COMPRESSED, IMAGE, BagError
from molmo_ros.cell.recording import Recording, restamp

STEP_NS = 100_000_000
FIRST_NS = 1_700_000_000_900_000_000
CLOCK = "std_msgs/msg/String"


def image_at(time_ns):
    image = Image(height=2, width=3, encoding="mono8", step=3, data=[1, 2, 3, 4, 5, 6])
    image.header.frame_id = "lens"
    image.header.stamp.sec, image.header.stamp.nanosec = divmod(time_ns, 1_000_000_000)
    return image


def write_bag(path, streams, frames=3):
    """A bag whose streams, topic to type, have one message a step; contents do not matter."""
    typestore = get_typestore(Stores.ROS2_JAZZY)
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        for topic, kind in streams.items():
            connection = writer.add_connection(topic, kind, typestore=typestore)
            for frame in range(frames):
                time_ns = FIRST_NS + frame * STEP_NS
                writer.write(connection, time_ns, bytes(serialize_message(image_at(time_ns))))
    return path


@pytest.mark.parametrize("shift_ns", [0, 1, 250_000_000, 5_123_456_789, -2_000_000_001])
def test_restamping_moves_the_stamp_and_nothing_else(shift_ns):
    image = image_at(FIRST_NS)
    moved = deserialize_message(restamp(bytes(serialize_message(image)), shift_ns), Image)
    assert moved == image_at(FIRST_NS + shift_ns)


def test_restamping_follows_the_byte_order_of_the_message():
    big = b"\x00\x00\x00\x00" + struct.pack(">iI", 7, 999_999_999) + b"rest"
    assert restamp(big, 2) == b"\x00\x00\x00\x00" + struct.pack(">iI", 8, 1) + b"rest"


def test_the_streams_of_a_camera_are_found_by_type_and_name(tmp_path):
    bag = write_bag(
        tmp_path / "bag",
        {
            "/cam/depth/image_rect": IMAGE,
            "/cam/color/image_raw": IMAGE,
            "/cam/color/camera_info": CAMERA_INFO,
            "/chatter": CLOCK,
        },
    )
    topics = Recording(bag).topics
    assert (topics.image, topics.compressed) == ("/cam/color/image_raw", False)
    assert topics.depth == "/cam/depth/image_rect"
    assert topics.camera_info == "/cam/color/camera_info"


def test_a_compressed_camera_is_named_without_its_transport(tmp_path):
    streams = {"/cam/image/compressed": COMPRESSED, "/cam/depth/image/compressed": COMPRESSED}
    topics = Recording(write_bag(tmp_path / "bag", streams)).topics
    assert (topics.image, topics.compressed) == ("/cam/image", True)
    assert topics.depth is None and topics.camera_info is None


def test_a_loop_keeps_its_pace_at_the_seam(tmp_path):
    recording = Recording(write_bag(tmp_path / "bag", {"/cam/image": IMAGE}, frames=3))
    times = [time_ns for _, time_ns in itertools.islice(recording.loop(), 8)]
    assert times == [STEP_NS * index for index in range(8)]


def test_a_bag_without_colour_is_refused_with_what_it_has(tmp_path):
    bag = write_bag(tmp_path / "bag", {"/cam/depth/image": IMAGE, "/cam/camera_info": CAMERA_INFO})
    with pytest.raises(BagError, match="no colour image topic.*/cam/camera_info, /cam/depth"):
        Recording(bag)


def test_what_is_no_bag_is_refused_by_name(tmp_path):
    with pytest.raises(BagError, match=f"{tmp_path}: not a readable ROS 2 bag"):
        Recording(tmp_path)


def test_recorded_kinect_frames_keep_their_streams_together(test_data):
    recording = Recording(test_data / "bags" / "mosd_tabletop")
    assert recording.topics.image == "/camera/color/image_raw" and recording.topics.compressed
    assert recording.topics.depth == "/camera/aligned_depth_to_color/image_raw"
    stamps = {IMAGE: [], CAMERA_INFO: []}
    for record, since_start_ns in itertools.islice(recording.loop(), 60):
        if record.kind in stamps:
            kind = Image if record.kind == IMAGE else CameraInfo
            moved = deserialize_message(restamp(record.cdr, since_start_ns - record.time_ns), kind)
            stamps[record.kind].append((moved.header.stamp.sec, moved.header.stamp.nanosec))
    assert len(stamps[IMAGE]) == 20
    assert stamps[IMAGE] == stamps[CAMERA_INFO]
    assert np.all(np.diff([sec + 1e-9 * nanosec for sec, nanosec in stamps[IMAGE]]) > 0.19)
