"""What the camera saw at one instant: as it came (Frame), and opened into arrays (View).

Knows nothing of topics or time limits. Opening costs milliseconds, so it happens in the worker,
never in a subscription callback.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from molmo_ros import convert
from molmo_ros.camera import Camera
from molmo_ros.camera_checks import doubts
from molmo_ros.geometry import Location, Plane, find_support, locate
from molmo_ros.noise import Errors

T = TypeVar("T")

NO_DEPTH_IMAGE = (
    "no depth image belongs to this image: remap `depth`, or raise slop_s if the stamps of image "
    "and depth differ"
)


@dataclass(frozen=True)
class Frame:
    """Messages that belong together.

    image:       sensor_msgs Image or CompressedImage
    stamp_s:     stamp of the image, seconds; 0 when it carries none
    depth:       sensor_msgs Image or CompressedImage within the slop of the image, or None
    camera_info: the sensor_msgs CameraInfo nearest to the image, or None
    """

    image: Any
    stamp_s: float
    depth: Any | None = None
    camera_info: Any | None = None


@dataclass(frozen=True)
class View:
    """A frame as arrays.

    rgb:     (H, W, 3) uint8
    depth_m: (H, W) float32 along the optical z axis, NaN where unknown; None without usable depth
    camera:  intrinsics of the image, None without usable ones
    errors:  what is declared of pixels and depths
    notes:   what is missing or doubtful about depth and intrinsics, and what to do about it
    """

    rgb: npt.NDArray[np.uint8]
    depth_m: npt.NDArray[np.float32] | None
    camera: Camera | None
    notes: tuple[str, ...] = ()
    errors: Errors = Errors()

    def locate(self, pixel: tuple[float, float]) -> Location:
        """Where in the optical frame the surface behind a pixel is, as far as depth tells."""
        return locate(
            pixel,
            self.depth_m,
            self.camera,
            support=self._support,
            pixel_sigma=self.pixel_sigma,
            noise=self.errors.depth,
        )

    @property
    def pixel_sigma(self) -> float:
        """Standard deviation of the model's pixel, in pixels of this picture."""
        return self.errors.pixel_sigma_percent / 100 * self.rgb.shape[1]

    @cached_property
    def _support(self) -> Plane | None:
        """What the objects stand on: searched once a frame, and only when there is a point."""
        if self.depth_m is None or self.camera is None:
            return None
        return find_support(self.depth_m, self.camera, self.errors.depth)


def open_frame(frame: Frame, *, rectified: bool = False, errors: Errors | None = None) -> View:
    """Decodes the messages of a frame; raises ConvertError when the image itself is unreadable.

    Unusable depth or intrinsics cost the waypoints, not the answer: they become notes.
    rectified: the image is image_rect (see Camera.from_info)
    errors:    what is declared of pixels and depths
    """
    rgb = convert.to_rgb(frame.image)
    height, width = rgb.shape[:2]
    notes: list[str] = []
    depth_m = _tried(lambda: _open_depth(frame.depth, width, height), notes)
    if depth_m is not None:
        notes += _frame_notes(frame)
    camera = _tried(lambda: _open_camera(frame.camera_info, width, height, rectified), notes)
    if camera is not None:
        notes += doubts(frame.camera_info, camera, rectified=rectified)
    return View(rgb, depth_m, camera, tuple(notes), errors or Errors())


def _tried(opener: Callable[[], T], notes: list[str]) -> T | None:
    """The opener's result, or None and the opener's complaint as a note."""
    try:
        return opener()
    except ValueError as error:
        notes.append(str(error))
        return None


def _open_depth(depth: Any, width: int, height: int) -> npt.NDArray[np.float32]:
    if depth is None:
        raise ValueError(NO_DEPTH_IMAGE)
    depth_m = convert.to_depth_m(depth)
    if depth_m.shape != (height, width):
        raise ValueError(
            f"the depth image is {depth_m.shape[1]}x{depth_m.shape[0]}, the image "
            f"{width}x{height}: remap `depth` to the depth that is registered to the image"
        )
    return depth_m


def _frame_notes(frame: Frame) -> list[str]:
    """Depth in another frame is seldom registered to the image; some drivers only name it so."""
    ours, theirs = frame.image.header.frame_id, frame.depth.header.frame_id
    if ours == theirs:
        return []
    return [f"`depth` is in frame '{theirs}', `image` in '{ours}': is depth registered to it?"]


def _open_camera(camera_info: Any, width: int, height: int, rectified: bool) -> Camera:
    if camera_info is None:
        raise ValueError("no camera_info has arrived: remap `camera_info`")
    camera = Camera.from_info(camera_info, rectified=rectified)
    camera.require_size(width, height, "image")
    return camera
