"""Depth images whose truth is known, for the tests of this folder."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from molmo_ros.camera import Camera

CAMERA = Camera(
    640, 480, np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]]), np.zeros(0), "", "optical"
)


def unit(*vector: float) -> np.ndarray:
    return np.array(vector) / np.linalg.norm(vector)


def directions(camera: Camera = CAMERA) -> np.ndarray:
    """(H, W, 3) with z = 1."""
    uv = np.stack(np.meshgrid(range(camera.width), range(camera.height)), axis=-1)
    return camera.directions(uv.reshape(-1, 2)).reshape(camera.height, camera.width, 3)


def plane_depth(normal: np.ndarray, through: tuple[float, float, float]) -> np.ndarray:
    """(H, W) float32 depth of the plane through a point; NaN where it is behind the camera."""
    with np.errstate(divide="ignore"):
        z = (normal @ np.array(through)) / (directions() @ normal)
    return np.where(z > 0, z, np.nan).astype(np.float32)


def wall(z: float = 1.0) -> np.ndarray:
    return plane_depth(np.array([0.0, 0.0, -1.0]), (0, 0, z))


def table_with_box(top: float = 0.05, size: tuple[float, float] = (0.06, 0.03)) -> np.ndarray:
    """Seen straight from above at 0.6 m: a box in the middle, its longer side along the image."""
    depth = wall(0.6)
    xy = directions()[..., :2] * (0.6 - top)
    depth[(np.abs(xy) <= np.array(size) / 2).all(axis=2)] = 0.6 - top
    return depth


def camera_info(**fields: object) -> SimpleNamespace:
    """As sensor_msgs/CameraInfo: 640x480, f = 500, no distortion."""
    info = {
        "header": SimpleNamespace(frame_id="optical"),
        "width": 640,
        "height": 480,
        "distortion_model": "plumb_bob",
        "d": [0.0] * 5,
        "k": [500.0, 0, 320, 0, 500, 240, 0, 0, 1],
        "r": [1.0, 0, 0, 0, 1, 0, 0, 0, 1],
        "p": [480.0, 0, 310, 0, 0, 480, 230, 0, 0, 0, 1, 0],
        "binning_x": 0,
        "binning_y": 0,
        "roi": SimpleNamespace(x_offset=0, y_offset=0, width=0, height=0),
    }
    return SimpleNamespace(**info | fields)
