"""The pinhole camera behind an image: from a pixel to a ray.

Reads any object with the fields of sensor_msgs/CameraInfo (REP-104: region of interest, binning,
distortion). Knows nothing of depth and nothing of tf.

Pixels are (u, v): u to the right, v down, and an integer is the centre of a pixel. The optical
frame is REP-103's: x right, y down, z forward.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

FISHEYE_MODELS = ("equidistant", "fisheye")  # librealsense and some drivers write the second
UNDISTORT_CRITERIA = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-10)
RETURN_PX = 0.05  # an undistorted pixel, distorted again, comes back this near or counts as lost
ZERO = np.zeros(3)


class CameraError(ValueError):
    """A CameraInfo from which no ray can be computed."""


@dataclass(frozen=True, eq=False)
class Camera:
    """Intrinsics of the image as it was published: binned, cropped, raw or rectified.

    k:          (3, 3), pixels
    distortion: (n,) coefficients of `model`, all zero or empty when there is nothing to undo
    frame:      the optical frame, from the header of the CameraInfo
    """

    width: int
    height: int
    k: Array
    distortion: Array
    model: str
    frame: str

    @classmethod
    def from_info(cls, info: Any, *, rectified: bool = False) -> Camera:
        """Reads a sensor_msgs/CameraInfo.

        rectified: the image is image_rect: P holds its intrinsics and no distortion is left. The
            message cannot tell: image_proc publishes the same CameraInfo for both.
        """
        matrix = (
            np.array(info.p, np.float64).reshape(3, 4)[:, :3]
            if rectified
            else np.array(info.k, np.float64).reshape(3, 3)
        )
        _check_matrix(matrix, "P" if rectified else "K")
        k, width, height = _crop_and_bin(matrix, info)
        distortion = np.zeros(0) if rectified else np.array(info.d, np.float64)
        _check_distortion(distortion, info.distortion_model)
        return cls(width, height, k, distortion, info.distortion_model, info.header.frame_id)

    @cached_property
    def focal(self) -> float:
        """Pixels per radian at the centre of the image, the mean of both axes."""
        return float(self.k[0, 0] + self.k[1, 1]) / 2

    @cached_property
    def _is_distorted(self) -> bool:
        return bool(self.distortion.any())

    def require_size(self, width: int, height: int, what: str) -> None:
        """Refuses an image (or depth image) that these intrinsics do not describe."""
        if (width, height) != (self.width, self.height):
            raise CameraError(
                f"the {what} is {width}x{height}, its camera_info describes "
                f"{self.width}x{self.height}: remap camera_info and depth to the topics that "
                "belong to this image (depth aligned to colour)"
            )

    def directions(self, pixels: npt.ArrayLike) -> Array:
        """What pixels look along: (N, 2) pixels -> (N, 3) with z = 1; times z it is the point.

        NaN where the lens model has no answer: past its fold, or 90 degrees and more off the axis.
        """
        uv = np.asarray(pixels, np.float64).reshape(-1, 1, 2)
        if self._is_distorted:
            xy = self._undistorted(uv)
        else:
            xy = (uv[:, 0] - self.k[:2, 2]) / self.k[[0, 1], [0, 1]]
        return np.column_stack([xy, np.ones(len(xy))])

    def _undistorted(self, uv: Array) -> Array:
        """(N, 1, 2) pixels -> (N, 2) directions. OpenCV iterates, and does not say if in vain."""
        k, d = self.k, self.distortion
        if self.model in FISHEYE_MODELS:
            xy = np.reshape(cv2.fisheye.undistortPoints(uv, k, d), (-1, 2))
        else:
            eye = np.eye(3)
            xy = np.reshape(
                cv2.undistortPointsIter(uv, k, d, eye, eye, UNDISTORT_CRITERIA), (-1, 2)
            )
        back = _distorted(xy, k, d, self.model)
        is_lost = ~(np.abs(back - uv[:, 0]).max(axis=1) <= RETURN_PX)
        is_lost |= np.hypot(*xy.T) >= self._fold
        return np.where(is_lost[:, None], np.nan, xy)

    @cached_property
    def _fold(self) -> float:
        """How far off the axis (tangent) the lens model holds; behind, it folds back inwards.

        Coefficients are fitted within the picture and may do anything outside: where the distance
        from the centre shrinks again, two directions share a pixel, and the inner one is real.
        """
        tangents = np.tan(np.radians(np.arange(0.25, 89.9, 0.25)))
        ahead = np.column_stack([tangents, np.zeros(len(tangents))])
        radii = _distorted(ahead, np.eye(3), self._radial, self.model)[:, 0]
        falling = np.flatnonzero(np.diff(radii, prepend=0.0) <= 0)
        return float(tangents[falling[0]]) if len(falling) else np.inf

    @cached_property
    def _radial(self) -> Array:
        """The coefficients without those that do not depend on the distance from the centre."""
        radial = self.distortion.copy()
        if self.model not in FISHEYE_MODELS:
            radial[2:4] = 0
            radial[8:] = 0
        return radial

    def grid(self, columns: npt.ArrayLike, rows: npt.ArrayLike) -> Array:
        """What a grid of pixels looks along: (w,) u and (h,) v -> (3, h, w) with z = 1."""
        u, v = np.asarray(columns, np.float64), np.asarray(rows, np.float64)
        if self._is_distorted:
            every = self.directions(np.stack(np.meshgrid(u, v), axis=-1))
            return np.ascontiguousarray(every.T).reshape(3, len(v), len(u))
        grid = np.ones((3, len(v), len(u)))
        grid[0] = (u - self.k[0, 2]) / self.k[0, 0]
        grid[1] = ((v - self.k[1, 2]) / self.k[1, 1])[:, None]
        return grid

    def ray(self, pixel: npt.ArrayLike) -> Array:
        """The unit vector (3,) from the optical centre through a pixel; NaN where unknown."""
        direction: Array = self.directions(pixel)[0]
        return np.divide(direction, np.linalg.norm(direction))


def _distorted(xy: Array, k: Array, distortion: Array, model: str) -> Array:
    """The pixels (N, 2) at which directions (N, 2) with z = 1 are seen."""
    points = np.column_stack([xy, np.ones(len(xy))])[:, None]
    project = cv2.fisheye.projectPoints if model in FISHEYE_MODELS else cv2.projectPoints
    return np.reshape(project(points, ZERO, ZERO, k, distortion)[0], (-1, 2)).astype(np.float64)


def _check_matrix(matrix: Array, name: str) -> None:
    fx, fy = matrix[0, 0], matrix[1, 1]
    if fx == 0:
        raise CameraError(
            f"camera_info is uncalibrated ({name}[0] is 0): without intrinsics there are no 3-D "
            "points. Calibrate the camera, or remap camera_info to the topic of its driver"
        )
    if not np.isfinite(matrix).all() or fx < 0 or fy <= 0:
        raise CameraError(
            f"camera_info has fx {fx} and fy {fy} in {name}: both must be positive and finite"
        )


def _crop_and_bin(matrix: Array, info: Any) -> tuple[Array, int, int]:
    """Intrinsics and size of the published image, from those of the full sensor (REP-104).

    Follows image_geometry: first the offset of the region, then the division, centre included.
    """
    roi = info.roi
    width, height = roi.width or info.width, roi.height or info.height
    if width <= 0 or height <= 0:
        raise CameraError(f"camera_info describes an image of {width}x{height} pixels")
    offset = np.array([roi.x_offset, roi.y_offset], np.float64)
    binning = np.array([max(info.binning_x, 1), max(info.binning_y, 1)])
    k = matrix.copy()
    k[:2, 2] = (k[:2, 2] - offset) / binning
    k[[0, 1], [0, 1]] /= binning
    return k, int(width // binning[0]), int(height // binning[1])


def _check_distortion(distortion: Array, model: str) -> None:
    if not distortion.any():
        return
    if not np.isfinite(distortion).all():
        raise CameraError(f"camera_info has distortion coefficients {distortion.tolist()}")
    counts = {"plumb_bob": (4, 5), "rational_polynomial": (8, 12, 14)}
    counts |= dict.fromkeys(FISHEYE_MODELS, (4,))
    if model not in counts:
        raise CameraError(
            f"camera_info has the distortion model '{model}': supported are {', '.join(counts)}. "
            "Use the rectified image"
        )
    if len(distortion) not in counts[model]:
        raise CameraError(
            f"camera_info has {len(distortion)} coefficients for '{model}', which takes "
            f"{' or '.join(map(str, counts[model]))}"
        )
