"""Notices a camera_info that cannot be right, or hardly.

Judges the numbers of the message alone, without any picture: what it lets through may still be
wrong. Says what it found and what to look at; whether to go on is not decided here (what no ray
can be computed from is refused in camera.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from molmo_ros.camera import FISHEYE_MODELS, Array, Camera, CameraError

NARROWEST_DEG, WIDEST_DEG = 10.0, 170.0  # fields of view that a robot's camera may have
FISHEYE_WIDEST_DEG = 250.0  # some lenses see behind themselves
UNEQUAL = 0.05  # pixels of real sensors are square within a percent; binning is accounted for
OFF_CENTRE = 0.25  # of the picture's size from its middle; lenses sit within a few percent
RECTIFIED_ALIKE = 2.0  # rectifying crops or zooms: f of P and of K differ by less than this
LARGEST_STRETCH = 2.0  # of a corner's distance from the centre; very wide lenses reach 1.8


def complaints(info: Any, width: int, height: int, *, rectified: bool = False) -> tuple[str, ...]:
    """What is wrong or doubtful about a sensor_msgs/CameraInfo; empty when all is well.

    width, height: of the image that it comes with
    rectified:     that image is image_rect (see Camera.from_info)
    """
    try:
        camera = Camera.from_info(info, rectified=rectified)
        camera.require_size(width, height, "image")
    except CameraError as error:
        return (str(error),)
    return doubts(info, camera, rectified=rectified)


def doubts(info: Any, camera: Camera, *, rectified: bool = False) -> tuple[str, ...]:
    """What is doubtful about a CameraInfo from which this camera was made, a sentence each."""
    # Of the whole sensor: a region of interest may be narrow, and far from the axis.
    size = info.width or camera.width, info.height or camera.height
    matrix = np.reshape(info.p, (3, 4))[:, :3] if rectified else np.reshape(info.k, (3, 3))
    found = [*_about_focal(matrix, size, camera), *_about_centre(matrix, size)]
    found += _about_rectified(info) if rectified else _about_raw(info, camera)
    return tuple(f"camera_info: {each}" for each in found)


def _about_focal(matrix: Array, size: tuple[int, int], camera: Camera) -> Iterator[str]:
    fx, fy = matrix[0, 0], matrix[1, 1]
    is_fisheye = camera.model in FISHEYE_MODELS and camera.distortion.any()
    for name, focal, pixels in (("horizontal", fx, size[0]), ("vertical", fy, size[1])):
        tangent = pixels / 2 / focal
        degrees = 2 * np.degrees(tangent if is_fisheye else np.arctan(tangent))
        if not NARROWEST_DEG <= degrees <= (FISHEYE_WIDEST_DEG if is_fisheye else WIDEST_DEG):
            yield (
                f"f of {focal:.4g} pixels over {pixels} is a {name} field of view of "
                f"{degrees:.3g} degrees: is it the calibration of this resolution?"
            )
    if abs(fx / fy - 1) > UNEQUAL:
        yield (
            f"fx {fx:.4g} and fy {fy:.4g} differ by {abs(fx / fy - 1):.0%}, as if the image had "
            "been stretched: calibrate at the resolution that is published"
        )


def _about_centre(matrix: Array, size: tuple[int, int]) -> Iterator[str]:
    width, height = size
    cx, cy = matrix[0, 2], matrix[1, 2]
    if max(abs(cx / width - 0.5), abs(cy / height - 0.5)) > OFF_CENTRE:
        is_inside = 0 <= cx <= width - 1 and 0 <= cy <= height - 1
        yield (
            f"the principal point ({cx:.4g}, {cy:.4g}) is "
            f"{'far from the middle of' if is_inside else 'outside'} the {width}x{height} image: "
            "is it the calibration of this resolution?"
        )


def _about_raw(info: Any, camera: Camera) -> Iterator[str]:
    if info.distortion_model and len(info.d) == 0:
        yield (
            f"the distortion model is '{info.distortion_model}' and there are no coefficients: "
            "taken as an image without distortion"
        )
    if camera.distortion.any():
        yield from _about_distortion(camera)
    k, p = np.array(info.k).reshape(3, 3), np.array(info.p).reshape(3, 4)
    is_turned = len(info.r) == 9 and np.abs(np.reshape(info.r, (3, 3)) - np.eye(3)).max() > 1e-3
    if p[0, 0] > 0 and not camera.distortion.any() and not is_turned and _differ(k, p[:, :3]):
        yield (
            f"without distortion K and P are the same camera, here fx is {k[0, 0]:.4g} in K and "
            f"{p[0, 0]:.4g} in P, cx {k[0, 2]:.4g} and {p[0, 2]:.4g}: one of them belongs to "
            "another image (for image_rect set rectified)"
        )


def _differ(k: Array, p: Array) -> bool:
    """Whether two matrices are different cameras: by more than a percent of the focal length."""
    return bool(np.abs(k - p).max() > 0.01 * k[0, 0])


def _about_distortion(camera: Camera) -> Iterator[str]:
    """Looks at the four corners: there distortion is largest, and a wrong model absurd."""
    right, bottom = camera.width - 1, camera.height - 1
    corners = np.array([[0, 0], [right, 0], [0, bottom], [right, bottom]], np.float64)
    rays = camera.directions(corners)
    if not np.isfinite(rays).all():
        yield (
            f"the coefficients of '{camera.model}' {_listed(camera.distortion)} have no answer in "
            "the corners of the image: points there get no waypoint"
        )
        return
    if camera.model in FISHEYE_MODELS:
        return
    pinhole = (corners - camera.k[:2, 2]) / camera.k[[0, 1], [0, 1]]
    stretches = np.linalg.norm(rays[:, :2], axis=1) / np.linalg.norm(pinhole, axis=1)
    if stretches.max() > LARGEST_STRETCH or stretches.min() < 1 / LARGEST_STRETCH:
        yield (
            f"the coefficients of '{camera.model}' {_listed(camera.distortion)} move corners of "
            f"the image to {stretches.min():.2g} to {stretches.max():.2g} times their distance "
            "from the centre: is this the model that they were fitted for?"
        )


def _about_rectified(info: Any) -> Iterator[str]:
    k, p = np.array(info.k).reshape(3, 3), np.array(info.p).reshape(3, 4)
    ratio = p[0, 0] / k[0, 0] if k[0, 0] > 0 else 1.0
    if not 1 / RECTIFIED_ALIKE <= ratio <= RECTIFIED_ALIKE:
        yield (
            f"fx is {k[0, 0]:.4g} in K and {p[0, 0]:.4g} in P: rectifying changes it little. "
            "Calibrate again, or remap camera_info to the topic of this image"
        )
    if abs(p[0, 3]) > 1e-6:
        yield (
            f"P is that of the second camera of a stereo pair, {abs(p[0, 3] / p[0, 0]):.3g} m "
            f"beside the first: positions are right only if '{info.header.frame_id}' is the frame "
            "of this camera, and not of the first"
        )


def _listed(values: Array) -> str:
    return "[" + ", ".join(f"{value:.3g}" for value in values) + "]"
