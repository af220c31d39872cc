"""Bags that a test makes: the simulated camera, or any messages."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path

import numpy as np
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from rclpy.serialization import serialize_message
from rosbags.highlevel import AnyReader
from rosbags.interfaces import Qos
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from sensor_msgs.msg import CameraInfo, Image

from molmo_ros import convert
from molmo_ros.cell.camera_node import FRAME_ID, HEIGHT, WIDTH, fill_camera_info
from molmo_sim.render import open_renderer
from molmo_sim.scene import sample_scene

FIRST_NS = 1_700_000_000_000_000_000
IMAGE, DEPTH, INFO = "/cam/color/image_raw", "/cam/depth/image_raw", "/cam/color/camera_info"
TYPES = get_typestore(Stores.ROS2_JAZZY)

Entry = tuple[str, int, object]  # topic, time of recording in nanoseconds, message


@cache
def _table(seed: int) -> dict[str, object]:
    scene = sample_scene(seed)
    renderer = open_renderer(WIDTH, HEIGHT)
    frame = renderer.render(scene)
    renderer.close()
    image, depth, info = Image(), Image(), CameraInfo()
    convert.fill_image(image, frame.rgb)
    convert.fill_depth(depth, np.where(frame.depth_m > 0, frame.depth_m, np.nan))
    fill_camera_info(info, scene.camera)
    return {IMAGE: image, DEPTH: depth, INFO: info}


def shot(seed: int, time_ns: int, lag_ns: int = 0) -> list[Entry]:
    """Image, depth and intrinsics of a simulated table, stamped and recorded at one time.

    lag_ns: how much later the image was recorded than it was taken
    """
    entries = []
    for topic, message in _table(seed).items():
        stamped = copy.copy(message)
        stamped.header = copy.deepcopy(message.header)
        stamp(stamped, time_ns)
        entries.append((topic, time_ns + (lag_ns if topic == IMAGE else 0), stamped))
    return entries


def stamp(message, time_ns: int):
    """Gives a message the camera's frame and a time."""
    message.header.frame_id = FRAME_ID
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(time_ns, 1_000_000_000)
    return message


def write_bag(
    path: Path,
    entries: list[Entry],
    *,
    plugin: StoragePlugin = StoragePlugin.MCAP,
    qos: dict[str, Qos] | None = None,
) -> Path:
    """Writes messages in the order of their recording; bytes stand for an Image."""
    with Writer(path, version=9, storage_plugin=plugin) as writer:
        connections = {}
        for topic, time_ns, message in sorted(entries, key=lambda entry: entry[1]):
            if topic not in connections:
                offered = [qos[topic]] if qos and topic in qos else []
                connections[topic] = writer.add_connection(
                    topic, kind_of(message), typestore=TYPES, offered_qos_profiles=offered
                )
            writer.write(connections[topic], time_ns, _serialize(message))
    return path


def kind_of(message) -> str:
    if isinstance(message, bytes):
        return "sensor_msgs/msg/Image"
    if hasattr(message, "__msgtype__"):
        return message.__msgtype__
    return f"{type(message).__module__.split('.')[0]}/msg/{type(message).__name__}"


def _serialize(message) -> bytes:
    if isinstance(message, bytes):
        return message
    if hasattr(message, "__msgtype__"):
        return TYPES.serialize_cdr(message, message.__msgtype__)
    return serialize_message(message)


def transforms(time_ns: int, *frames: tuple):
    """A TFMessage, as tf2_msgs is not installed everywhere; (parent, child, xyz, xyzw) each."""
    made = TYPES.types
    stamped = [
        made["geometry_msgs/msg/TransformStamped"](
            made["std_msgs/msg/Header"](
                made["builtin_interfaces/msg/Time"](*divmod(time_ns, 1_000_000_000)), parent
            ),
            child,
            made["geometry_msgs/msg/Transform"](
                made["geometry_msgs/msg/Vector3"](*map(float, xyz)),
                made["geometry_msgs/msg/Quaternion"](*map(float, xyzw)),
            ),
        )
        for parent, child, xyz, xyzw in frames
    ]
    return made["tf2_msgs/msg/TFMessage"](stamped)


def read_bag(path: Path) -> dict[str, list[tuple[int, object]]]:
    """All messages of a bag by topic, with their times, decoded by what the bag itself says."""
    found: dict[str, list[tuple[int, object]]] = {}
    with AnyReader([path]) as reader:
        for connection in reader.connections:
            found[connection.topic] = []
        for connection, time_ns, raw in reader.messages():
            message = reader.deserialize(raw, connection.msgtype)
            found[connection.topic].append((time_ns, message))
    return found


def read_mcap(path: Path) -> dict[str, list[tuple[int, object]]]:
    """The same of an .mcap file, by the reader that its format's authors wrote."""
    found: dict[str, list[tuple[int, object]]] = {}
    with path.open("rb") as stream:
        reader = make_reader(stream, decoder_factories=[DecoderFactory()])
        for _, channel, message, decoded in reader.iter_decoded_messages():
            found.setdefault(channel.topic, []).append((message.log_time, decoded))
    return found
