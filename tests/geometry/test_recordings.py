"""The node's own conversion and geometry on recorded camera messages."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rosbags.highlevel import AnyReader

from molmo_ros.camera import Camera
from molmo_ros.convert import to_depth_m, to_rgb

BENCH = Path(__file__).parents[2] / "bench" / "geometry"


def messages(bag, topic):
    with AnyReader([bag]) as reader:
        for connection, _, raw in reader.messages():
            if connection.topic == topic:
                yield reader.deserialize(raw, connection.msgtype)


@pytest.fixture(scope="module")
def measured(test_data):
    bags = test_data / "bags"
    bag, truth = bags / "mosd_tabletop", bags / "mosd_truth.json"
    command = [sys.executable, BENCH, "--bag", bag, "--truth", truth, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_waypoints_are_where_the_recorded_cloud_says(measured):
    assert measured["n"] == 72
    assert measured["within_5mm"] >= 0.95
    assert measured["median_mm"] <= 2  # the noise of a Kinect on a table


def test_normals_are_those_of_the_recorded_cloud(measured):
    assert measured["normals_within_8deg"] >= 0.95


def test_the_recorded_messages_of_a_frame_fit_together(test_data):
    bag = test_data / "bags" / "mosd_tabletop"
    images = messages(bag, "/camera/color/image_raw/compressed")
    depths = messages(bag, "/camera/aligned_depth_to_color/image_raw")
    infos = messages(bag, "/camera/color/camera_info")
    for image, depth, info in zip(images, depths, infos, strict=True):
        rgb, depth_m = to_rgb(image), to_depth_m(depth)
        assert rgb.shape == (*depth_m.shape, 3) == (480, 640, 3)
        Camera.from_info(info).require_size(640, 480, "image")
        assert 20 < rgb.mean() < 235


def test_recorded_compressed_depth_belongs_to_its_image(test_data):
    bag = test_data / "bags" / "arc_bins"
    topic = "/camera/aligned_depth_to_color/image_raw/compressedDepth"
    images = list(messages(bag, "/camera/color/image_raw"))
    depths = [to_depth_m(message) for message in messages(bag, topic)]
    assert [to_rgb(image).shape[:2] for image in images] == [depth.shape for depth in depths]
    for depth_m in depths:  # a camera above a bin: most pixels known, all within reach of its arm
        known = depth_m[np.isfinite(depth_m)]
        assert known.size > 0.5 * depth_m.size
        assert 0.2 < np.percentile(known, 5) < np.percentile(known, 95) < 1.5
