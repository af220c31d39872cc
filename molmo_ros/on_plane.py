"""Waypoints of a camera without depth: where the ray of a pixel meets a plane that is known.

The plane is believed, not seen: a thing that stands on it is taken for a spot on the plane behind
it, by more the flatter the camera looks. Knows nothing of frames; the plane is in the optical one.
"""

from __future__ import annotations

import math

import numpy as np

from molmo_ros import pose
from molmo_ros.camera import Camera
from molmo_ros.depth import Pixel
from molmo_ros.geometry import IMAGE_X, Location, Source, Status, direction_spread
from molmo_ros.planes import Array, Plane

FLATTEST = math.sin(math.radians(10))  # flatter rays meet a plane almost anywhere
HAND_M = 0.1  # a surface that is off the plane by its sigma within this length tilts as much


def plane_of(rotation: Array, translation: Array, height_m: float) -> Plane | None:
    """The plane z = height_m of a frame, from that frame's pose in the optical frame.

    None where the camera is not above it: what it sees then is not the plane.
    """
    normal = rotation[:, 2]
    offset_m = -float(normal @ (translation + height_m * normal))
    return Plane(normal, offset_m) if offset_m > 0 else None


def locate_on_plane(
    pixel: Pixel, camera: Camera, plane: Plane, *, pixel_sigma: float, plane_sigma_m: float
) -> Location:
    """Where the ray of a pixel meets the plane; NO_DEPTH where it does not, or almost along it.

    pixel_sigma:   standard deviation of the pixel, per axis
    plane_sigma_m: of the distance between the real surface and the plane
    """
    ray, spread = camera.ray(pixel), direction_spread(pixel, camera, pixel_sigma)
    if not np.isfinite([*ray, *spread.ravel()]).all():
        return Location(status=Status.NO_CAMERA_INFO)
    steepness = -float(ray @ plane.normal)  # sine of the angle between ray and plane
    if steepness < FLATTEST:
        return Location(status=Status.NO_DEPTH, ray=ray)
    position = ray * plane.offset_m / steepness
    normal = plane.normal
    covariance = np.zeros((6, 6))
    covariance[:3, :3] = pose.position_covariance(
        position, normal, spread, plane_sigma_m / steepness * ray[2]
    )
    tilt = (plane_sigma_m / HAND_M) ** 2 * (np.eye(3) - np.outer(normal, normal))
    covariance[3:, 3:] = pose.rotation_covariance(normal, tilt, 1.0)
    return Location(
        status=Status.OK,
        source=Source.PLANE,
        ray=ray,
        position=position,
        normal=normal,
        quaternion=pose.quaternion(pose.approach_axes(normal, IMAGE_X)),
        covariance=covariance,
        depth_m=float(position[2]),
        height_m=0.0,
    )
