"""The node's parameters: names, defaults, ranges and descriptions, in one dataclass.

Values are checked twice: here for everything that a params file or the command line brings, with
all mistakes in one message, and by rclpy for everything that is set later.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from molmo_ros.modes import MODES
from molmo_ros.noise import KINDS, Errors
from molmo_ros.worker import POLICIES

ROS_PREFIXES = ("qos_overrides.",)  # overrides that rclpy itself declares, if and when it wants
TYPES = {
    bool: "true or false",
    int: "a whole number",
    float: "a number with a decimal point",
    str: "a string",
    tuple: "a list of strings",
}
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*")  # relative, of a topic
QOS = ("sensor_data", "default", "system_default")


class ParameterError(ValueError):
    """Parameters that the node cannot start with."""


def parameter(
    default: Any,
    description: str,
    *,
    between: tuple[float, float] | None = None,
    choices: tuple[str, ...] = (),
    read_only: bool = False,
) -> Any:
    """A field of Parameters. between: smallest and largest value; choices: all legal strings."""
    about = {
        "description": description,
        "between": between,
        "choices": choices,
        "read_only": read_only,
    }
    return dataclasses.field(default=default, metadata=about)


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """All parameters of the node. Changes take effect with the next question unless noted."""

    bundle: str = parameter("", "Bundle directory with the model. Read by configure.")
    backend: str = parameter(
        "auto", "Engine: auto, or one that `molmo doctor` lists. Read by configure."
    )
    threads: int = parameter(
        0,
        "Of the CPU for the engine; 0 = one per core but one, which is left to cameras and the "
        "rest of the robot. Read by configure.",
        between=(0, 256),
    )
    autostart: bool = parameter(
        False, "Configure and activate at start, without a lifecycle manager.", read_only=True
    )
    cameras: tuple[str, ...] = parameter(
        (),
        "Names of several cameras, each with `<name>/image`, `<name>/depth`, `<name>/camera_info`."
        " Empty: a single one on `image`, `depth`, `camera_info`.",
        read_only=True,
    )
    image_transport: str = parameter(
        "raw",
        "raw subscribes to `image`, compressed to `image/compressed`. Read by activate.",
        choices=("raw", "compressed"),
    )
    depth_transport: str = parameter(
        "raw",
        "raw subscribes to `depth`, compressedDepth to `depth/compressedDepth`. Read by activate.",
        choices=("raw", "compressedDepth"),
    )
    image_qos: str = parameter(
        "sensor_data",
        "sensor_data hears every publisher, best effort; default only reliable ones; "
        "system_default what the middleware is set to. Read by activate.",
        choices=QOS,
    )
    depth_qos: str = parameter("sensor_data", "Likewise for depth.", choices=QOS)
    camera_info_qos: str = parameter("sensor_data", "Likewise for camera_info.", choices=QOS)
    qos_depth: int = parameter(
        1, "Messages that wait in each subscription's queue. Read by activate.", between=(1, 100)
    )
    rectified: bool = parameter(
        False, "`image` is rectified (image_rect): use P of camera_info and undo no distortion."
    )
    max_frame_age_s: float = parameter(
        1.0,
        "A question is not answered about an image older than this; 0 accepts any age.",
        between=(0.0, 3600.0),
    )
    frame_wait_s: float = parameter(
        0.5,
        "How long a question waits for a fresh image, and for its depth where depth is published.",
        between=(0.0, 60.0),
    )
    slop_s: float = parameter(
        0.02,
        "Largest difference between the stamps of image and depth, or between their arrivals "
        "where a stamp is missing.",
        between=(0.0, 1.0),
    )
    default_timeout_s: float = parameter(
        30.0, "Deadline of a question that names none.", between=(0.1, 3600.0)
    )
    max_new_tokens: int = parameter(
        200, "Longest answer, in tokens of the model.", between=(1, 4096)
    )
    max_crops: int = parameter(
        0,
        "The most high-resolution crops of an image: fewer are faster and coarser; 0 leaves the "
        "model's own number.",
        between=(0, 64),
    )
    min_confidence: float = parameter(
        0.0,
        "Waypoints of which the model is less sure are LOW_CONFIDENCE: in the answer, but in no "
        "standard message.",
        between=(0.0, 1.0),
    )
    queue_policy: str = parameter(
        "queue",
        "A question that finds another one being answered: reject ends it as BUSY, queue lets it "
        "wait, replace ends the older ones of its camera.",
        choices=POLICIES,
    )
    queue_size: int = parameter(
        4, "How many questions may wait behind the one being answered.", between=(1, 16)
    )
    prompt: str = parameter(
        "",
        "The standing question, asked again and again; empty asks nothing. A message on ~/prompt "
        "sets it.",
    )
    mode: str = parameter(
        "answer", "How the standing question is asked, see Answer.msg.", choices=MODES
    )
    rate_hz: float = parameter(
        1.0, "How often the standing question is asked at most.", between=(0.01, 100.0)
    )
    marker_lifetime_s: float = parameter(
        30.0,
        "After which what is drawn on ~/markers fades away; 0 keeps it until the next answer.",
        between=(0.0, 3600.0),
    )
    action_name: str = parameter(
        "~/ask",
        "Name of the action: remapping it takes five rules, one for each of its parts.",
        read_only=True,
    )
    target_frame: str = parameter(
        "", "Frame of the waypoints, such as base_link; empty leaves them in the optical frame."
    )
    tf_timeout_s: float = parameter(
        0.2,
        "How long a question waits for the transform at the stamp of its image.",
        between=(0.0, 10.0),
    )
    tf_buffer_s: float = parameter(
        10.0,
        "How far back transforms are remembered. Read when listening to them begins.",
        between=(0.1, 600.0),
    )
    depth_noise: str = parameter(
        "stereo",
        "How the noise of depth grows: stereo with the square of distance, tof with distance.",
        choices=tuple(KINDS),
    )
    depth_noise_floor_m: float = parameter(
        0.0, "Noise of depth at no distance; 0 takes that of the kind.", between=(0.0, 1.0)
    )
    depth_noise_growth: float = parameter(
        0.0,
        "What is added at 1 m, metres; 0 takes that of the kind.",
        between=(0.0, 1.0),
    )
    pixel_sigma_percent: float = parameter(
        0.47,
        "Standard deviation of the model's pixel along each axis, percent of the image's width.",
        between=(0.01, 100.0),
    )
    plane_frame: str = parameter(
        "",
        "Where nobody publishes depth: points lie on the x-y plane of this frame; empty: nowhere.",
    )
    plane_height_m: float = parameter(
        0.0, "Lifts that plane along the z axis of plane_frame.", between=(-100.0, 100.0)
    )
    plane_sigma_m: float = parameter(
        0.005,
        "Standard deviation of the real surface's distance from that plane.",
        between=(0.0, 10.0),
    )
    plane_at_holes: bool = parameter(
        False, "Use the plane, too, where there is depth but none at the point."
    )
    track: bool = parameter(
        True,
        "Carry the waypoints of an answer forward to the newest images, while somebody listens "
        "to ~/tracked or ~/tracked_poses.",
    )
    track_for_s: float = parameter(
        10.0, "How long after an answer its waypoints are tracked.", between=(0.1, 3600.0)
    )
    track_rate_hz: float = parameter(
        30.0, "At most so many images a second are tracked in.", between=(1.0, 120.0)
    )

    @property
    def errors(self) -> Errors:
        """What the parameters declare of depths and pixels."""
        kind = KINDS[self.depth_noise]
        noise = replace(
            kind,
            floor_m=self.depth_noise_floor_m or kind.floor_m,
            growth=self.depth_noise_growth or kind.growth,
        )
        return Errors(pixel_sigma_percent=self.pixel_sigma_percent, depth=noise)


def declare(node: Node) -> None:
    """Declares all parameters; raises ParameterError that names every override that is wrong."""
    overrides = {name: given.value for name, given in node._parameter_overrides.items()}
    undeclared = {name: overrides[name] for name in overrides if not node.has_parameter(name)}
    if found := mistakes(undeclared):
        raise ParameterError("; ".join(found))
    node.add_on_set_parameters_callback(_refuse_unknown_choices)
    for field in dataclasses.fields(Parameters):
        if isinstance(field.default, tuple):
            _declare_strings(node, field, overrides.get(field.name, field.default))
        else:
            node.declare_parameter(field.name, field.default, _descriptor(field))


def read(node: Node) -> Parameters:
    """The values as they are now."""
    values = {f.name: node.get_parameter(f.name).value for f in dataclasses.fields(Parameters)}
    return Parameters(**{n: tuple(v) if isinstance(v, list) else v for n, v in values.items()})


def mistakes(overrides: Mapping[str, Any]) -> list[str]:
    """One sentence for each override that the node does not know or cannot take."""
    known = {field.name: field for field in dataclasses.fields(Parameters)}
    found = []
    for name, value in overrides.items():
        if name in known:
            found += _complaints(known[name], value)
        elif not name.startswith(ROS_PREFIXES):
            found.append(f"unknown parameter '{name}' (known: {', '.join(known)})")
    return found


def _complaints(field: dataclasses.Field, value: Any) -> list[str]:
    """What is wrong with the value of one parameter: nothing or one sentence."""
    wanted = type(field.default)
    if wanted is tuple:
        return _name_complaints(field.name, value)
    if type(value) is not wanted:
        return [f"{field.name}: got {value!r}, wanted {TYPES[wanted]}"]
    low_high, choices = field.metadata["between"], field.metadata["choices"]
    if low_high and not low_high[0] <= value <= low_high[1]:
        return [f"{field.name}: got {value!r}, wanted {low_high[0]} to {low_high[1]}"]
    if choices and value not in choices:
        return [f"{field.name}: got {value!r}, wanted {' or '.join(choices)}"]
    return []


def _name_complaints(name: str, value: Any) -> list[str]:
    """Likewise for a list of names. None is how rclpy hands on an empty one."""
    names = [] if value is None else value
    if not isinstance(names, list | tuple) or not all(isinstance(one, str) for one in names):
        return [f"{name}: got {value!r}, wanted {TYPES[tuple]}"]
    if not all(NAME.fullmatch(one) for one in names) or len(set(names)) < len(names):
        return [f"{name}: got {value!r}, wanted different names as in topics: wrist, or arm/wrist"]
    return []


def _declare_strings(node: Node, field: dataclasses.Field, value: Any) -> None:
    """An empty list has no type that rclpy could guess, so it is declared first and set then."""
    strings = Parameter.Type.STRING_ARRAY
    node.declare_parameter(field.name, strings, ignore_override=True)
    node.set_parameters([Parameter(field.name, strings, list(value or ()))])
    descriptor = _descriptor(field)
    descriptor.type = strings.value
    node.set_descriptor(field.name, descriptor)


def _refuse_unknown_choices(changes: list[Parameter]) -> SetParametersResult:
    """What rclpy cannot check by itself: strings with a closed set of values."""
    found = mistakes({c.name: c.value for c in changes if c.type_ == Parameter.Type.STRING})
    return SetParametersResult(successful=not found, reason="; ".join(found))


def _descriptor(field: dataclasses.Field) -> ParameterDescriptor:
    about = field.metadata
    descriptor = ParameterDescriptor(
        description=about["description"], read_only=about["read_only"]
    )
    if about["choices"]:
        descriptor.additional_constraints = "one of: " + ", ".join(about["choices"])
    if about["between"] and isinstance(field.default, float):
        low, high = about["between"]
        descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    elif about["between"]:
        low, high = about["between"]
        descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
    return descriptor
