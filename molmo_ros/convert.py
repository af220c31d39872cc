"""Turns image messages into arrays and back.

Reads and fills any object with the fields of sensor_msgs/Image or CompressedImage. Never reads
past the message's buffer, and never guesses: what it does not know it refuses with a sentence.
It knows nothing of cameras, and depth here is only a picture of metres. The encodings are in
encodings.py, JPEG and compressedDepth in compressed.py.
"""

from __future__ import annotations

import array
import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from molmo_ros import bridge, compressed
from molmo_ros.encodings import COLOUR, DEPTH, ConvertError, Layout, Pixels

Rgb = npt.NDArray[np.uint8]
Depth = npt.NDArray[np.float32]


def to_rgb(msg: Any) -> Rgb:
    """The colours of an Image or CompressedImage: (H, W, 3) uint8, RGB.

    A packed rgb8 image is a view into the message: treat the result as read-only.
    """
    if hasattr(msg, "format"):
        return compressed.to_rgb(msg)
    if msg.encoding in COLOUR:
        return _convert(msg, COLOUR[msg.encoding], "image")
    if msg.encoding in DEPTH or not bridge.is_installed():
        raise ConvertError(
            f"the image came as '{msg.encoding}': supported are {_names(COLOUR)}"
            ", and others where cv_bridge is installed. Remap to a topic with one of these"
        )
    return bridge.to_rgb(msg)


def to_depth_m(msg: Any) -> Depth:
    """The depth of an Image, or of a CompressedImage from compressedDepth.

    returns: (H, W) float32 metres along the optical z axis, NaN where unknown
    """
    if hasattr(msg, "format"):
        return compressed.to_depth_m(msg)
    if msg.encoding not in DEPTH:
        raise ConvertError(
            f"the depth image came as '{msg.encoding}': supported are {_names(DEPTH)}. "
            "Remap to a topic with one of these"
        )
    return _convert(msg, DEPTH[msg.encoding], "depth image")


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


def _convert(msg: Any, layout: Layout, what: str) -> Pixels:
    layout.require_size(int(msg.height), int(msg.width), what)
    return layout.convert(_pixels(msg, layout, what))


def _pixels(msg: Any, layout: Layout, what: str) -> Pixels:
    """A view of the message's buffer without the padding of its rows: (rows, width, channels)."""
    rows, width, step = int(msg.height) * layout.halves // 2, int(msg.width), int(msg.step)
    dtype = np.dtype(layout.dtype).newbyteorder(">" if msg.is_bigendian else "<")
    row = width * layout.channels * dtype.itemsize
    if step < row:
        raise ConvertError(
            f"the {what} says {step} bytes a row (step), but {width} pixels of "
            f"'{msg.encoding}' take {row}: its driver fills the message wrongly"
        )
    data = np.frombuffer(msg.data, np.uint8) if len(msg.data) else np.zeros(0, np.uint8)
    if data.size < step * rows:
        raise ConvertError(
            f"the {what} holds {data.size} bytes, but {rows} rows of {step} bytes are "
            f"{step * rows}: it was cut off on the way, or its driver fills it wrongly"
        )
    strides = (step, layout.channels * dtype.itemsize, dtype.itemsize)
    view: Pixels = np.ndarray((rows, width, layout.channels), dtype, data, strides=strides)
    return view


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
