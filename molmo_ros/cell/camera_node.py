"""A simulated RGB-D camera over a simulated table, publishing as a camera driver does.

Image, depth and intrinsics of one instant share stamp and frame. A scene stands still: it is
rendered once, and again when the parameter `seed` changes.
"""

from __future__ import annotations

import sys

import numpy as np
from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image

from molmo_ros import convert
from molmo_ros.serving import serve
from molmo_sim.camera import Camera
from molmo_sim.render import open_renderer
from molmo_sim.scene import sample_scene

WIDTH, HEIGHT = 640, 480
FRAME_ID = "camera_optical_frame"
QUEUE = 2  # reliable, as image tools want it; best-effort subscribers hear it as well

SEED = ParameterDescriptor(
    description="Which scene is on the table.",
    integer_range=[IntegerRange(from_value=0, to_value=2**31 - 1, step=1)],
)
RATE = ParameterDescriptor(
    description="Frames per second.",
    floating_point_range=[FloatingPointRange(from_value=0.1, to_value=100.0)],
    read_only=True,
)


class CameraNode(Node):
    """Publishes `image` (rgb8), `depth` (32FC1, metres) and `camera_info`."""

    def __init__(self) -> None:
        super().__init__("camera")
        self._renderer = open_renderer(WIDTH, HEIGHT)
        self._image, self._depth, self._info = Image(), Image(), CameraInfo()
        self._outputs = [
            (self.create_publisher(type(message), topic, QUEUE), message)
            for topic, message in (
                ("camera_info", self._info),
                ("depth", self._depth),
                ("image", self._image),
            )
        ]
        self._show(self.declare_parameter("seed", 0, SEED).value)
        self.add_on_set_parameters_callback(self._on_change)
        rate_hz = self.declare_parameter("rate_hz", 10.0, RATE).value
        self.create_timer(1 / rate_hz, self._publish)

    def destroy_node(self) -> None:
        self._renderer.close()
        super().destroy_node()

    def _on_change(self, changes: list[Parameter]) -> SetParametersResult:
        for change in changes:
            if change.name == "seed":
                self._show(change.value)
        return SetParametersResult(successful=True)

    def _show(self, seed: int) -> None:
        """Renders the scene of a seed into the messages."""
        scene = sample_scene(seed)
        frame = self._renderer.render(scene)
        convert.fill_image(self._image, frame.rgb)
        convert.fill_depth(self._depth, np.where(frame.depth_m > 0, frame.depth_m, np.nan))
        fill_camera_info(self._info, scene.camera)
        names = ", ".join(thing.name for thing in scene.objects)
        self.get_logger().info(f"scene {seed}: {names}")

    def _publish(self) -> None:
        stamp = self.get_clock().now().to_msg()
        for publisher, message in self._outputs:
            message.header.stamp = stamp
            message.header.frame_id = FRAME_ID
            publisher.publish(message)


def fill_camera_info(info: CameraInfo, camera: Camera) -> None:
    """Writes the intrinsics of a picture without distortion; the header is the caller's."""
    k = camera.intrinsics(WIDTH, HEIGHT)
    info.width, info.height = WIDTH, HEIGHT
    info.distortion_model, info.d = "plumb_bob", [0.0] * 5
    info.k = k.ravel()
    info.r = np.eye(3).ravel()
    info.p = np.column_stack([k, np.zeros(3)]).ravel()


def main(args: list[str] | None = None) -> int:
    """Runs the camera until SIGINT or SIGTERM."""
    serve(CameraNode, args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
