"""From a pixel to a waypoint: position, orientation and uncertainty in metres.

Everything is in the optical frame of the camera (REP-103: x right, y down, z forward) until
`transform` carries it elsewhere. Knows nothing of ROS, messages or what the model meant.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import IntEnum

import numpy as np

from molmo_ros import pose
from molmo_ros.camera import Camera
from molmo_ros.depth import Depth, Pixel, Surface, find_surface
from molmo_ros.extent import Extent, measure_extent
from molmo_ros.noise import STEREO, DepthNoise
from molmo_ros.planes import Array, Plane, find_dominant_plane

SUPPORT_STEP = 16  # pixels between the samples in which the support plane is sought
IMAGE_X = np.array([1.0, 0.0, 0.0])


class Status(IntEnum):
    """What is known of a waypoint; the numbers are Waypoint.msg's."""

    OK = 0
    NO_DEPTH = 1
    NO_TF = 2
    NO_CAMERA_INFO = 3
    LOST = 4
    LOW_CONFIDENCE = 5


class Source(IntEnum):
    """Where a position comes from; the numbers are Waypoint.msg's."""

    MEASURED = 0
    PLANE = 1


def _unknown(*shape: int) -> Array:
    return np.full(shape, np.nan)


@dataclass(frozen=True, eq=False, kw_only=True)
class Location:
    """One pixel in 3-D. Unknown numbers are NaN; the fields are those of Waypoint.msg.

    ray:        (3,) unit, from the camera through the pixel, always in the optical frame
    position:   (3,) metres
    normal:     (3,) unit, out of the surface, towards the camera
    quaternion: (4,) xyzw; z into the surface, x along its longest direction on the side of the
        image's x axis (or simply as near to that axis as possible, where no side is longest)
    covariance: (6, 6): x, y, z in m^2, rotation about the frame's X, Y, Z in rad^2
    height_m:   above the support plane
    """

    status: Status
    source: Source = Source.MEASURED
    ray: Array = field(default_factory=lambda: _unknown(3))
    position: Array = field(default_factory=lambda: _unknown(3))
    normal: Array = field(default_factory=lambda: _unknown(3))
    quaternion: Array = field(default_factory=lambda: _unknown(4))
    covariance: Array = field(default_factory=lambda: _unknown(6, 6))
    depth_m: float = np.nan
    depth_spread_m: float = np.nan
    depth_valid_fraction: float = np.nan
    depth_window: int = 0
    depth_bimodal: bool = False
    extent_along_m: float = np.nan
    extent_across_m: float = np.nan
    height_m: float = np.nan


def find_support(depth_m: Depth, camera: Camera, noise: DepthNoise = STEREO) -> Plane | None:
    """The plane that the scene rests on: the one that most of the picture lies on, if any.

    Gravity is unknown here: in a picture full of wall, the wall is what it finds.
    """
    camera.require_size(depth_m.shape[1], depth_m.shape[0], "depth image")
    start = SUPPORT_STEP // 2
    z = depth_m[start::SUPPORT_STEP, start::SUPPORT_STEP].astype(np.float64)
    rows, columns = np.nonzero(np.isfinite(z))
    uv = np.column_stack([columns, rows]) * SUPPORT_STEP + start
    return find_dominant_plane(camera.directions(uv), z[rows, columns], noise)


def locate(
    pixel: Pixel,
    depth_m: Depth | None,
    camera: Camera | None,
    *,
    support: Plane | None = None,
    pixel_sigma: float = 3.0,
    noise: DepthNoise = STEREO,
) -> Location:
    """Lifts a pixel into 3-D.

    pixel:       (u, v), 0 is the centre of the first pixel; may lie between pixels
    depth_m:     (H, W) metres along z, NaN unknown, registered to the camera's image
    support:     of the same frame, from find_support; without it no height is known
    pixel_sigma: standard deviation of the pixel, per axis, as declared for the model
    noise:       of one pixel of the depth image, as declared for the camera
    """
    if camera is None:
        return Location(status=Status.NO_CAMERA_INFO)
    ray = camera.ray(pixel)
    spread = direction_spread(pixel, camera, pixel_sigma)
    if not np.isfinite([*ray, *spread.ravel()]).all():  # past what the lens model describes
        return Location(status=Status.NO_CAMERA_INFO)
    nowhere = Location(status=Status.NO_DEPTH, ray=ray)
    if depth_m is None:
        return nowhere
    camera.require_size(depth_m.shape[1], depth_m.shape[0], "depth image")
    if not (-0.5 <= pixel[0] <= camera.width - 0.5 and -0.5 <= pixel[1] <= camera.height - 0.5):
        return nowhere
    surface = find_surface(depth_m, pixel, camera, noise)
    if surface is None:
        return nowhere
    position = surface.depth_m * ray / ray[2]
    extent = measure_extent(depth_m, pixel, position, surface.plane, camera, support, noise)
    height = np.nan if support is None else float(support.heights(position))
    return _assemble(ray, position, surface, extent, height, spread)


def transform(location: Location, rotation: Array, translation: Array) -> Location:
    """The same waypoint in another frame: p' = rotation @ p + translation. The ray stays."""
    if location.status != Status.OK:
        return location
    axes = rotation @ pose.rotation_matrix(location.quaternion)
    return replace(
        location,
        position=rotation @ location.position + translation,
        normal=rotation @ location.normal,
        quaternion=pose.quaternion(axes),
        covariance=pose.rotate_covariance(location.covariance, rotation),
    )


def direction_spread(pixel: Pixel, camera: Camera, pixel_sigma: float) -> Array:
    """(3, 2) how far the direction (z = 1) of a pixel moves in one sigma of u and of v."""
    u, v = pixel
    around = camera.directions([(u + 0.5, v), (u - 0.5, v), (u, v + 0.5), (u, v - 0.5)])
    return pixel_sigma * np.column_stack([around[0] - around[1], around[2] - around[3]])


def _assemble(
    ray: Array,
    position: Array,
    surface: Surface,
    extent: Extent | None,
    height_m: float,
    direction_sigma: Array,
) -> Location:
    normal = surface.plane.normal
    along = IMAGE_X if extent is None or extent.direction is None else extent.direction
    if along @ IMAGE_X < 0:
        along = -along
    covariance = np.zeros((6, 6))
    covariance[:3, :3] = pose.position_covariance(
        position, normal, direction_sigma, surface.depth_sigma_m
    )
    covariance[3:, 3:] = pose.rotation_covariance(
        normal, surface.normal_covariance, 1.0 if extent is None else extent.elongation
    )
    return Location(
        status=Status.OK,
        ray=ray,
        position=position,
        normal=normal,
        quaternion=pose.quaternion(pose.approach_axes(normal, along)),
        covariance=covariance,
        depth_m=surface.depth_m,
        depth_spread_m=surface.spread_m,
        depth_valid_fraction=surface.valid_fraction,
        depth_window=surface.window,
        depth_bimodal=surface.bimodal,
        extent_along_m=np.nan if extent is None else extent.along_m,
        extent_across_m=np.nan if extent is None else extent.across_m,
        height_m=height_m,
    )
