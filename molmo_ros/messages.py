"""Turns replies into messages: ours, and the standard ones for those who do not want ours.

Every header has the stamp of the image; its frame is that of the numbers: the image's own, or the
one into which a waypoint was transformed. Unknown numbers are NaN, never zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from geometry_msgs.msg import Point, Pose, PoseArray, PoseStamped, Quaternion, Vector3
from std_msgs.msg import Header

from molmo_ros.asking import Located, Reply
from molmo_ros.geometry import Status
from molmo_ros.modes import Mode
from molmo_ros.msg import Answer, Waypoint

STAGES = ("preprocess_ms", "vision_ms", "prefill_ms", "decode_ms", "first_token_ms")
SAME_NAME = (  # fields that Location and Waypoint.msg share
    "depth_m",
    "depth_spread_m",
    "depth_valid_fraction",
    "depth_window",
    "depth_bimodal",
    "extent_along_m",
    "extent_across_m",
    "height_m",
)


def answer(reply: Reply, age_s: float, model: str, engine: str) -> Answer:
    """Everything about a reply. age_s: of its frame, now; NaN without one."""
    message = Answer(
        header=header(reply),
        request_id=reply.question.request_id,
        camera=reply.question.camera,
        prompt=reply.question.prompt,
        mode=int(reply.question.mode),
        text=reply.text,
        status=int(reply.ending),
        message=reply.message,
        waypoints=waypoints(reply, age_s),
        count=_count(reply),
        frame_age_s=age_s,
        wait_ms=reply.wait_ms,
        geometry_ms=reply.geometry_ms,
        first_waypoint_ms=reply.first_waypoint_ms,
        total_ms=reply.total_ms,
        model=model,
        engine=engine,
    )
    for stage in STAGES:
        value = getattr(reply.answer.timings, stage) if reply.answer else math.nan
        setattr(message, stage, float(value))
    if reply.answer:
        message.prompt_tokens = reply.answer.usage.prompt_tokens
        message.answer_tokens = reply.answer.usage.answer_tokens
    return message


def tracked(
    reply: Reply, confidences: Sequence[float], age_s: float, model: str, engine: str
) -> Answer:
    """An answer whose points were carried to a newer frame. age_s: of the one the model saw."""
    message = answer(reply, age_s, model, engine)
    for waypoint, confidence in zip(message.waypoints, confidences, strict=True):
        waypoint.tracking_confidence = confidence
    return message


def _count(reply: Reply) -> int:
    """What a counting answer counted; -1 when it does not say, or was not asked to."""
    if reply.question.mode != Mode.COUNT or reply.answer is None or reply.answer.count is None:
        return -1
    return reply.answer.count


def header(reply: Reply) -> Header:
    """The image's own header; an empty one when there was no image."""
    return reply.frame.image.header if reply.frame else Header()


def waypoints(reply: Reply, age_s: float) -> list[Waypoint]:
    """All points of a reply, in the order in which the model named them."""
    return [_waypoint(reply, index, point, age_s) for index, point in enumerate(reply.points)]


def _waypoint(reply: Reply, index: int, located: Located, age_s: float) -> Waypoint:
    found, location = located.found, located.location
    height, width = reply.view.rgb.shape[:2]
    image = header(reply)
    waypoint = Waypoint(
        header=Header(stamp=image.stamp, frame_id=located.frame or image.frame_id),
        status=int(location.status),
        source=int(location.source),
        index=index,
        label=found.point.label,
        camera=reply.question.camera,
        optical_frame=image.frame_id,
        u=float(found.pixel[0]),
        v=float(found.pixel[1]),
        image_width=width,
        image_height=height,
        ray=_vector(location.ray),
        normal=_vector(location.normal),
        confidence=float(found.confidence),
        tracking_confidence=math.nan,
        age_s=age_s,
    )
    waypoint.pose.pose = Pose(
        position=Point(**_xyz(location.position)),
        orientation=Quaternion(**_xyz(location.quaternion)),
    )
    waypoint.pose.covariance = np.asarray(location.covariance, np.float64).ravel()
    for name in SAME_NAME:
        setattr(waypoint, name, getattr(location, name))
    return waypoint


def usable(waypoints: Sequence[Waypoint]) -> list[Waypoint]:
    """Those whose pose is valid: only they go out in standard messages."""
    return [waypoint for waypoint in waypoints if waypoint.status == Status.OK]


def pose_array(header: Header, waypoints: Sequence[Waypoint]) -> PoseArray:
    """The poses alone, in the order in which the model named them, all in one frame.

    header: of the image, for an array without poses
    """
    header = waypoints[0].header if waypoints else header
    return PoseArray(header=header, poses=[waypoint.pose.pose for waypoint in waypoints])


def pose_stamped(waypoint: Waypoint) -> PoseStamped:
    """One pose with the header of its waypoint."""
    return PoseStamped(header=waypoint.header, pose=waypoint.pose.pose)


def _vector(values: Sequence[float]) -> Vector3:
    return Vector3(**_xyz(values))


def _xyz(values: Sequence[float]) -> dict[str, float]:
    return {name: float(value) for name, value in zip("xyzw", values, strict=False)}
