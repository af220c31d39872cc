"""The encodings that we read: how each lies in a buffer, and how it becomes RGB or metres.

Tables and pure conversions; knows nothing of messages and their buffers (see convert.py).

H height, W width
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[Any]


class ConvertError(ValueError):
    """A message that holds no picture we can read."""


@dataclass(frozen=True)
class Layout:
    """How an encoding lies in the buffer, and the way from there to what we use.

    convert:  (rows, W, channels) of dtype, any strides -> RGB, or metres
    halves:   rows of the buffer for two of the image; nv12 has a third one, for its colours
    multiple: of what height and width must be, where neighbours share their colours
    least:    smallest height and width that are a picture
    """

    dtype: str
    channels: int
    convert: Callable[[Pixels], Pixels]
    halves: int = 2
    multiple: tuple[int, int] = (1, 1)
    least: int = 1

    def require_size(self, height: int, width: int, what: str) -> None:
        """Raises ConvertError when no picture of this encoding has this size."""
        if height <= 0 or width <= 0:
            raise ConvertError(f"the {what} is {width}x{height} pixels: it holds no picture")
        if height < self.least or width < self.least:
            raise ConvertError(
                f"the {what} is {width}x{height} pixels: wanted {self.least}x{self.least} or more"
            )
        if height % self.multiple[0] or width % self.multiple[1]:
            raise ConvertError(
                f"the {what} is {width}x{height} pixels, but its encoding has colours for "
                f"blocks of {self.multiple[1]}x{self.multiple[0]} only"
            )


def _colours(code: int) -> Callable[[Pixels], Pixels]:
    return lambda pixels: cv2.cvtColor(np.ascontiguousarray(pixels), code)


def _high_bytes(pixels: Pixels) -> Pixels:
    grey = (pixels[:, :, 0] >> 8).astype(np.uint8)
    return cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)


def _deep_mosaic(code: int) -> Callable[[Pixels], Pixels]:
    """Of 16 bits in any byte order: interpolated before the low bytes go."""
    return lambda pixels: (cv2.cvtColor(pixels.astype(np.uint16), code) >> 8).astype(np.uint8)


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


_UYVY = Layout("u1", 2, _colours(cv2.COLOR_YUV2RGB_UYVY), multiple=(1, 2))
_YUYV = Layout("u1", 2, _colours(cv2.COLOR_YUV2RGB_YUY2), multiple=(1, 2))
_NV12, _NV21 = (
    Layout("u1", 1, _colours(code), halves=3, multiple=(2, 2))
    for code in (cv2.COLOR_YUV2RGB_NV12, cv2.COLOR_YUV2RGB_NV21)
)
_MOSAICS = {  # OpenCV names a mosaic by the second row and column
    "rggb": cv2.COLOR_BayerBG2RGB,
    "bggr": cv2.COLOR_BayerRG2RGB,
    "gbrg": cv2.COLOR_BayerGR2RGB,
    "grbg": cv2.COLOR_BayerGB2RGB,
}
BAYER = {  # OpenCV makes mosaics of less than 3x3 black
    **{f"bayer_{n}8": Layout("u1", 1, _colours(c), least=3) for n, c in _MOSAICS.items()},
    **{f"bayer_{n}16": Layout("u2", 1, _deep_mosaic(c), least=3) for n, c in _MOSAICS.items()},
}
COLOUR = {
    "rgb8": Layout("u1", 3, lambda pixels: pixels),
    "bgr8": Layout("u1", 3, _colours(cv2.COLOR_BGR2RGB)),
    "rgba8": Layout("u1", 4, _colours(cv2.COLOR_RGBA2RGB)),
    "bgra8": Layout("u1", 4, _colours(cv2.COLOR_BGRA2RGB)),
    "mono8": Layout("u1", 1, _colours(cv2.COLOR_GRAY2RGB)),
    "8UC3": Layout("u1", 3, _colours(cv2.COLOR_BGR2RGB)),  # as cv_bridge: OpenCV's own order
    "mono16": Layout("u2", 1, _high_bytes),
    **BAYER,
    "yuv422": _UYVY,
    "uyvy": _UYVY,
    "yuv422_yuy2": _YUYV,
    "yuyv": _YUYV,
    "nv12": _NV12,
    "nv21": _NV21,
}
DEPTH = {
    "16UC1": Layout("u2", 1, _millimetres),  # REP-118: the encoding decides the unit
    "32FC1": Layout("f4", 1, _metres),
}
