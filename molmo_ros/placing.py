"""Into which frame the waypoints of an image go, and what stands in for depth.

Decided once, when the image is accepted: seconds later, when the model has spoken, the arm may be
elsewhere and the transform forgotten. Knows no topics and no message types.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from molmo_ros.frames import Frame, View
from molmo_ros.geometry import Location, Status, transform
from molmo_ros.on_plane import locate_on_plane, plane_of
from molmo_ros.parameters import Parameters
from molmo_ros.planes import Plane
from molmo_ros.tf_buffer import IDENTITY, Transform, TransformError

NANO = 1_000_000_000
Check = Callable[[], None]


class Transforms(Protocol):
    """Where transforms come from; see transforms.py."""

    def open(self, length_s: float) -> None: ...

    def look_up(
        self, target: str, source: str, stamp_ns: int, *, timeout_s: float, check: Check
    ) -> Transform: ...


@dataclass(frozen=True, kw_only=True)
class Placement:
    """How the points of one image become waypoints.

    frame:         of what `to_frame` leads to: the target frame, or the optical one
    to_frame:      from the optical frame; None when it is not known
    plane:         in the optical frame, where points without depth lie; None without one
    plane_sigma_m: how far the real surface may be off it
    notes:         what is not known of frames, and what to do about it
    """

    frame: str
    to_frame: Transform | None = IDENTITY
    plane: Plane | None = None
    plane_sigma_m: float = 0.0
    notes: tuple[str, ...] = ()

    def locate(self, view: View, pixel: tuple[float, float]) -> tuple[Location, str]:
        """Where the surface behind a pixel is, and in which frame; empty is the image's own."""
        location = view.locate(pixel)
        if location.status == Status.NO_DEPTH and self.plane is not None:
            location = locate_on_plane(
                pixel,
                view.camera,
                self.plane,
                pixel_sigma=view.pixel_sigma,
                plane_sigma_m=self.plane_sigma_m,
            )
        if location.status != Status.OK:
            return location, ""
        if self.to_frame is None:
            return replace(location, status=Status.NO_TF), ""
        return transform(location, self.to_frame.rotation, self.to_frame.translation), self.frame


def needs_transforms(parameters: Parameters) -> bool:
    """Whether the parameters name a frame other than the image's."""
    return bool(parameters.target_frame or parameters.plane_frame)


def place(
    frame: Frame,
    has_depth: bool,
    transforms: Transforms | None,
    parameters: Parameters,
    check: Check,
) -> Placement:
    """Looks up what the parameters ask for, as it was when the image was taken.

    has_depth:  somebody publishes depth, so that a point without it lies at a hole
    transforms: needed only where the parameters name a frame
    check:      is called while waiting for transforms and may raise
    """
    header = frame.image.header
    stamp_ns = header.stamp.sec * NANO + header.stamp.nanosec
    notes: list[str] = []

    def look_up(target: str, source: str) -> Transform | None:
        if target == source:
            return IDENTITY
        try:
            return transforms.look_up(
                target, source, stamp_ns, timeout_s=parameters.tf_timeout_s, check=check
            )
        except TransformError as error:
            notes.append(str(error))
            return None

    optical_frame = header.frame_id
    target = parameters.target_frame or optical_frame
    to_frame = look_up(target, optical_frame)
    plane = None
    if parameters.plane_frame and (parameters.plane_at_holes or not has_depth):
        from_plane = look_up(optical_frame, parameters.plane_frame)
        if from_plane is not None:
            plane = plane_of(
                from_plane.rotation, from_plane.translation, parameters.plane_height_m
            )
            if plane is None:
                notes.append(_below(parameters))
    return Placement(
        frame=target,
        to_frame=to_frame,
        plane=plane,
        plane_sigma_m=parameters.plane_sigma_m,
        notes=tuple(notes),
    )


def _below(parameters: Parameters) -> str:
    return (
        f"the camera is not above the plane z = {parameters.plane_height_m:g} m of "
        f"'{parameters.plane_frame}': check plane_frame and plane_height_m"
    )
