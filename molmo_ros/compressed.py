"""Reads CompressedImage: pictures in JPEG or PNG, and depth as compressedDepth sends it.

compressedDepth puts 12 bytes before a 16-bit PNG or an RVL stream: the kind of quantisation
(int32) and its two parameters (float32), which only 32FC1 uses: it is sent as inverse depth. What
was cut off or tampered with is refused with a sentence.
"""

from __future__ import annotations

import struct
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from molmo_ros.encodings import BAYER, DEPTH, ConvertError, Pixels

QUANTISATION = struct.Struct("<iff")
RVL_SIZE = struct.Struct("<ii")
AS_SEEN = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION  # no turning by what EXIF says
MOST_PIXELS = 1 << 26  # of an RVL stream: few bytes can promise a picture of any size
MOST_NIBBLES = 10  # of one value in an RVL stream: 30 bits


def to_rgb(msg: Any) -> npt.NDArray[np.uint8]:
    """(H, W, 3) RGB; the pixels stay where the camera saw them."""
    mosaic = BAYER.get(_encoding(msg))
    pixels = _decoded(msg.data, cv2.IMREAD_UNCHANGED if mosaic else AS_SEEN)
    if pixels is None:
        raise ConvertError(
            f"the compressed image ({len(msg.data)} bytes, format '{msg.format}') cannot be "
            "decoded: wanted a whole JPEG or PNG"
        )
    if mosaic is not None and pixels.ndim == 2:  # image_transport sends a mosaic as it is, in grey
        mosaic.require_size(*pixels.shape, "image")
        return mosaic.convert(pixels[:, :, None])
    return np.asarray(cv2.cvtColor(pixels[:, :, :3], cv2.COLOR_BGR2RGB), np.uint8)


def to_depth_m(msg: Any) -> npt.NDArray[np.float32]:
    """(H, W) metres along the optical z axis, NaN where unknown."""
    encoding, header = _encoding(msg), QUANTISATION.size
    if "compressedDepth" not in msg.format or encoding not in DEPTH:
        raise ConvertError(
            f"depth came as a CompressedImage of format '{msg.format}': wanted compressedDepth "
            f"of {', '.join(DEPTH)}. Set depth_transport and remap depth to what the camera sends"
        )
    data = bytes(msg.data)
    values = _unpack_rvl(data[header:]) if "rvl" in msg.format else _unpack_png(data[header:])
    if values is None:
        raise ConvertError(
            f"the compressed depth image ({len(data)} bytes, format '{msg.format}') cannot be "
            f"decoded: wanted {header} bytes and a whole 16-bit PNG or RVL stream"
        )
    if encoding == "32FC1":
        values = _from_inverse(values, *QUANTISATION.unpack_from(data)[1:])
    return DEPTH[encoding].convert(values[:, :, None])


def _encoding(msg: Any) -> str:
    """That of the image before it was compressed: `bgr8; jpeg compressed bgr8`."""
    return str(msg.format).partition(";")[0].strip()


def _decoded(data: Any, flags: int) -> Pixels | None:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags) if len(data) else None
    except cv2.error:  # OpenCV's own limits on size; what it says names its source lines
        return None


def _unpack_png(data: bytes) -> Pixels | None:
    values = _decoded(data, cv2.IMREAD_UNCHANGED)
    return values if values is not None and (values.dtype, values.ndim) == ("u2", 2) else None


def _from_inverse(values: Pixels, a: float, b: float) -> Pixels:
    """Metres from a / depth + b, rounded to 16 bits; 0 is unknown."""
    if not (np.isfinite([a, b]).all() and a > 0):
        raise ConvertError(
            f"the compressed depth image has the quantisation ({a:g}, {b:g}): wanted a finite "
            "pair, the first above 0. Its sender fills the message wrongly"
        )
    with np.errstate(divide="ignore"):
        return np.where(values == 0, np.nan, a / (values - np.float32(b))).astype(np.float32)


def _unpack_rvl(data: bytes) -> Pixels | None:
    """(H, W) uint16 out of runs of zeros and deltas (A. Wilson, Fast lossless depth, 2017)."""
    if len(data) < RVL_SIZE.size:
        return None
    width, height = RVL_SIZE.unpack_from(data)
    if width <= 0 or height <= 0 or width * height > MOST_PIXELS:
        return None
    numbers = _rvl_numbers(data[RVL_SIZE.size :])
    runs = _rvl_runs(numbers, width * height)
    if runs is None:
        return None
    first, target, count = runs
    ramp = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    folded = numbers[np.repeat(first, count) + ramp]  # 0, 1, 2, 3 ... mean 0, -1, 1, -2 ...
    depth = np.cumsum((folded >> 1) ^ -(folded & 1))
    if depth.size and not 0 <= depth.min() <= depth.max() <= np.iinfo(np.uint16).max:
        return None
    values = np.zeros(width * height, np.uint16)
    values[np.repeat(target, count) + ramp] = depth
    return values.reshape(height, width)


def _rvl_numbers(data: bytes) -> npt.NDArray[np.int64]:
    """The numbers of a stream: 3 bits a nibble, lowest first, the 4th says that more follow."""
    words = np.frombuffer(data, "<u4", len(data) // 4)
    nibbles = (words.astype(np.int64)[:, None] >> np.arange(28, -1, -4) & 15).ravel()
    ends = np.flatnonzero(nibbles < 8) + 1
    lengths = np.diff(ends, prepend=0)
    if not ends.size or lengths.max() > MOST_NIBBLES:
        return np.zeros(0, np.int64)
    starts = ends - lengths
    place = np.arange(ends[-1]) - np.repeat(starts, lengths)
    return np.add.reduceat((nibbles[: ends[-1]] & 7) << (3 * place), starts)


def _rvl_runs(
    numbers: npt.NDArray[np.int64], pixels: int
) -> tuple[npt.NDArray[np.int64], ...] | None:
    """Where runs of deltas begin among the numbers and among the pixels, and their lengths."""
    plain, runs = numbers.tolist(), []
    at = filled = 0
    while filled < pixels:
        if at + 2 > len(plain):
            return None
        zeros, count = plain[at : at + 2]
        runs.append((at + 2, filled + zeros, count))
        at, filled = at + 2 + count, filled + zeros + count
    if filled > pixels or at > len(plain):
        return None
    return tuple(np.array(runs, np.int64).T)
