"""Turns image messages into arrays and back.

Reads and fills any object with the fields of sensor_msgs/Image or CompressedImage. Never reads
past the message's buffer, and never guesses: what it does not know it refuses with a sentence.
It knows nothing of cameras, and depth here is only a picture of metres.
"""

from __future__ import annotations

import array
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Rgb = npt.NDArray[np.uint8]
Depth = npt.NDArray[np.float32]
Pixels = npt.NDArray[Any]


class ConvertError(ValueError):
    """A message that holds no picture we can read."""


@dataclass(frozen=True)
class Layout:
    """How an encoding lies in the buffer, and the way from there to what we use.

    convert: (H, W, channels) of dtype, any strides -> RGB, or metres
    """

    dtype: str
    channels: int
    convert: Callable[[Pixels], Pixels]


def _colours(code: int) -> Callable[[Pixels], Pixels]:
    return lambda pixels: cv2.cvtColor(np.ascontiguousarray(pixels), code)


def _high_bytes(pixels: Pixels) -> Pixels:
    grey = (pixels[:, :, 0] >> 8).astype(np.uint8)
    return cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)


def _millimetres(pixels: Pixels) -> Pixels:
    depth_m = pixels[:, :, 0].astype(np.float32)
    depth_m *= np.float32(1e-3)
    depth_m[depth_m == 0] = np.nan
    return depth_m


def _metres(pixels: Pixels) -> Pixels:
    depth_m = pixels[:, :, 0].astype(np.float32)  # a copy: the message stays as it came
    with np.errstate(invalid="ignore"):  # some drivers send signalling NaNs
        depth_m[~(np.isfinite(depth_m) & (depth_m > 0))] = np.nan
    return depth_m


COLOUR = {
    "rgb8": Layout("u1", 3, lambda pixels: pixels),
    "bgr8": Layout("u1", 3, _colours(cv2.COLOR_BGR2RGB)),
    "rgba8": Layout("u1", 4, _colours(cv2.COLOR_RGBA2RGB)),
    "bgra8": Layout("u1", 4, _colours(cv2.COLOR_BGRA2RGB)),
    "mono8": Layout("u1", 1, _colours(cv2.COLOR_GRAY2RGB)),
    "8UC3": Layout("u1", 3, _colours(cv2.COLOR_BGR2RGB)),  # as cv_bridge: OpenCV's own order
    "mono16": Layout("u2", 1, _high_bytes),
}
DEPTH = {
    "16UC1": Layout("u2", 1, _millimetres),  # REP-118: the encoding decides the unit
    "32FC1": Layout("f4", 1, _metres),
}


def to_rgb(msg: Any) -> Rgb:
    """The colours of an Image or CompressedImage: (H, W, 3) uint8, RGB.

    A packed rgb8 image is a view into the message: treat the result as read-only.
    """
    if hasattr(msg, "format"):
        return _decode(msg)
    return _convert(msg, COLOUR, "image")


def to_depth_m(msg: Any) -> Depth:
    """The depth of an Image: (H, W) float32 metres along the optical z axis, NaN where unknown."""
    if hasattr(msg, "format"):
        raise ConvertError(
            f"depth came as a CompressedImage of format '{msg.format}': "
            f"wanted an Image in {_names(DEPTH)}. Remap depth to the raw topic"
        )
    return _convert(msg, DEPTH, "depth image")


def fill_image(msg: Any, rgb: Rgb, encoding: str = "rgb8") -> None:
    """Writes (H, W, 3) RGB into an Image as rgb8 or bgr8; the header is the caller's."""
    if encoding not in ("rgb8", "bgr8"):
        raise ConvertError(f"cannot write '{encoding}': supported are rgb8 and bgr8")
    _fill(msg, rgb if encoding == "rgb8" else rgb[:, :, ::-1], encoding)


def fill_depth(msg: Any, depth_m: Depth, encoding: str = "32FC1") -> None:
    """Writes (H, W) metres into an Image as 32FC1, or as 16UC1 in millimetres with 0 = unknown."""
    if encoding == "32FC1":
        _fill(msg, depth_m.astype(np.float32), encoding)
    elif encoding == "16UC1":
        limit = np.iinfo(np.uint16).max
        mm = np.nan_to_num(np.rint(depth_m * 1e3), nan=0, posinf=0, neginf=0)
        _fill(msg, np.where((mm < 0) | (mm > limit), 0, mm).astype(np.uint16), encoding)
    else:
        raise ConvertError(f"cannot write '{encoding}': supported are {_names(DEPTH)}")


def _convert(msg: Any, table: dict[str, Layout], what: str) -> Pixels:
    layout = table.get(msg.encoding)
    if layout is None:
        raise ConvertError(
            f"the {what} came as '{msg.encoding}': supported are {_names(table)}. "
            "Remap to a topic with one of these"
        )
    return layout.convert(_pixels(msg, layout, what))


def _pixels(msg: Any, layout: Layout, what: str) -> Pixels:
    """A view of the message's buffer without the padding of its rows: (H, W, channels)."""
    height, width, step = int(msg.height), int(msg.width), int(msg.step)
    dtype = np.dtype(layout.dtype).newbyteorder(">" if msg.is_bigendian else "<")
    row = width * layout.channels * dtype.itemsize
    if height <= 0 or width <= 0:
        raise ConvertError(f"the {what} is {width}x{height} pixels: it holds no picture")
    if step < row:
        raise ConvertError(
            f"the {what} says {step} bytes a row (step), but {width} pixels of "
            f"'{msg.encoding}' take {row}: its driver fills the message wrongly"
        )
    data = np.frombuffer(msg.data, np.uint8) if len(msg.data) else np.zeros(0, np.uint8)
    if data.size < step * height:
        raise ConvertError(
            f"the {what} holds {data.size} bytes, but {height} rows of {step} bytes are "
            f"{step * height}: it was cut off on the way, or its driver fills it wrongly"
        )
    strides = (step, layout.channels * dtype.itemsize, dtype.itemsize)
    view: Pixels = np.ndarray((height, width, layout.channels), dtype, data, strides=strides)
    return view


def _decode(msg: Any) -> Rgb:
    """JPEG or PNG to RGB; the pixels stay where the camera saw them (no EXIF turning)."""
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        bgr = cv2.imdecode(np.frombuffer(msg.data, np.uint8), flags) if len(msg.data) else None
    except cv2.error:  # OpenCV's own limits on size; what it says names its source lines
        bgr = None
    if bgr is None:
        raise ConvertError(
            f"the compressed image ({len(msg.data)} bytes, format '{msg.format}') cannot be "
            "decoded: wanted a whole JPEG or PNG"
        )
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def _fill(msg: Any, pixels: Pixels, encoding: str) -> None:
    data = array.array("B")  # anything else is copied byte by byte in Python by the message
    data.frombytes(np.ascontiguousarray(pixels).view(np.uint8).data)
    msg.height, msg.width = pixels.shape[:2]
    msg.encoding = encoding
    msg.is_bigendian = int(sys.byteorder == "big")
    msg.step = len(data) // pixels.shape[0]
    msg.data = data


def _names(table: dict[str, Layout]) -> str:
    return ", ".join(table)
