"""The simulated camera as its subscribers see it."""

import time

import numpy as np
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image

from molmo_ros import convert
from molmo_ros.camera import Camera
from molmo_ros.cell.camera_node import FRAME_ID, CameraNode
from molmo_sim.render import open_renderer
from molmo_sim.scene import sample_scene

PATIENCE_S = 20.0


class Watcher:
    """A camera node and what its subscribers hear, by topic."""

    def __init__(self):
        self.camera = CameraNode()
        self._node = rclpy.create_node("watcher")
        self.heard = {"image": [], "depth": [], "camera_info": []}
        for topic, messages in self.heard.items():
            kind = CameraInfo if topic == "camera_info" else Image
            self._node.create_subscription(kind, topic, messages.append, 10)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.camera)
        self._executor.add_node(self._node)

    def frames(self, count):
        """Waits for complete frames from now on: (image, depth, camera_info) of one stamp."""
        for messages in self.heard.values():
            messages.clear()
        deadline = time.monotonic() + PATIENCE_S
        while len(together := self._together()) < count:
            assert time.monotonic() < deadline, f"{len(together)} frames in {PATIENCE_S} s"
            self._executor.spin_once(0.05)
        return together

    def close(self):
        self._executor.shutdown()
        self.camera.destroy_node()
        self._node.destroy_node()

    def _together(self):
        by_stamp = [
            {(m.header.stamp.sec, m.header.stamp.nanosec): m for m in messages}
            for messages in self.heard.values()
        ]
        stamps = sorted(set.intersection(*(set(messages) for messages in by_stamp)))
        return [tuple(messages[stamp] for messages in by_stamp) for stamp in stamps]


@pytest.fixture(scope="module")
def watcher(ros):
    watcher = Watcher()
    yield watcher
    watcher.close()


def set_seed(watcher, seed):
    (result,) = watcher.camera.set_parameters([Parameter("seed", value=seed)])
    assert result.successful


def test_the_messages_hold_what_the_renderer_sees(watcher):
    set_seed(watcher, 2)
    image, depth, info = watcher.frames(1)[0]
    renderer = open_renderer()
    frame = renderer.render(sample_scene(2))
    renderer.close()
    assert np.array_equal(convert.to_rgb(image), frame.rgb)
    depth_m = convert.to_depth_m(depth)
    assert np.array_equal(np.nan_to_num(depth_m), frame.depth_m)
    assert Camera.from_info(info).k == pytest.approx(sample_scene(2).camera.intrinsics(640, 480))


def test_all_streams_share_stamp_and_frame_and_time_goes_on(watcher):
    frames = watcher.frames(3)
    for image, depth, info in frames:
        assert image.header == depth.header == info.header
        assert image.header.frame_id == FRAME_ID
    stamps = [image.header.stamp.sec + 1e-9 * image.header.stamp.nanosec for image, *_ in frames]
    assert np.all(np.diff(stamps) > 0)
    assert abs(time.time() - stamps[-1]) < 5


def test_another_seed_shows_another_table_at_once(watcher):
    set_seed(watcher, 2)
    before = convert.to_rgb(watcher.frames(1)[0][0]).copy()
    set_seed(watcher, 3)
    after = convert.to_rgb(watcher.frames(2)[-1][0])
    assert np.abs(before.astype(float) - after).mean() > 5


def test_an_impossible_seed_is_refused_and_the_camera_goes_on(watcher):
    (result,) = watcher.camera.set_parameters([Parameter("seed", value=-1)])
    assert not result.successful
    assert watcher.frames(1)
