"""Compressed pictures and depth. The RVL streams are made by a plain encoder of our own."""

import array
import io
import struct
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rosbags.image import message_to_cvimage

from molmo_ros.convert import ConvertError, to_depth_m, to_rgb

A, B = 10100.0, -1009.0  # quantisation of inverse depth up to 10 m: 100 * 101, 1 - A / 10


def compressed(rgb, extension, form=None):
    ok, data = cv2.imencode(extension, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    assert ok
    return SimpleNamespace(format=form or f"rgb8; {extension}", data=array.array("B", data))


def test_png_is_read_exactly_and_jpeg_nearly():
    rgb = np.full((40, 60, 3), (200, 100, 30), np.uint8)
    np.testing.assert_array_equal(to_rgb(compressed(rgb, ".png")), rgb)
    # one colour all over: only JPEG's rounding of YCrCb is left
    assert np.abs(to_rgb(compressed(rgb, ".jpg")).astype(int) - rgb).max() <= 3


def test_pixels_stay_where_the_camera_saw_them_whatever_exif_says():
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn by 90 degrees
    file = io.BytesIO()
    Image.new("RGB", (60, 40)).save(file, "jpeg", exif=exif)
    msg = SimpleNamespace(format="jpeg", data=array.array("B", file.getvalue()))
    assert to_rgb(msg).shape == (40, 60, 3)


@pytest.mark.parametrize("data", [b"", b"not a picture", b"\xff\xd8\xff\xe0 cut"])
def test_what_cannot_be_decoded_is_refused_by_format_and_size(data):
    msg = SimpleNamespace(format="rgb8; jpeg", data=array.array("B", data))
    with pytest.raises(
        ConvertError, match=rf"{len(data)} bytes, format 'rgb8; jpeg'.*JPEG or PNG"
    ):
        to_rgb(msg)


@given(data=st.binary(max_size=200), png=st.booleans())
def test_any_bytes_are_decoded_or_refused(data, png):
    start = b"\x89PNG\r\n\x1a\n" if png else b"\xff\xd8\xff\xdb"
    try:
        rgb = to_rgb(SimpleNamespace(format="jpeg", data=array.array("B", start + data)))
    except ConvertError:
        return
    assert rgb.ndim == 3 and rgb.shape[2] == 3


@pytest.mark.parametrize("extension", [".png", ".jpg"])
def test_pictures_equal_those_of_rosbags(extension):
    rgb = np.random.default_rng(0).integers(0, 256, (12, 17, 3), np.uint8)
    msg = compressed(rgb, extension)
    np.testing.assert_array_equal(to_rgb(msg), message_to_cvimage(msg, "rgb8"))


@pytest.mark.parametrize("encoding", ["bayer_grbg8", "bayer_grbg16"])
def test_a_mosaic_that_was_compressed_as_it_is_gets_its_colours_back(encoding):
    deep = encoding.endswith("16")
    mosaic = np.random.default_rng(0).integers(0, 256, (6, 8)).astype("u2" if deep else "u1")
    raw = SimpleNamespace(encoding=encoding, height=6, width=8, step=8 * mosaic.itemsize)
    raw.is_bigendian, raw.data = 0, array.array("B", mosaic.tobytes())
    data = array.array("B", cv2.imencode(".png", mosaic)[1])
    msg = SimpleNamespace(format=f"{encoding}; png compressed ", data=data)
    np.testing.assert_array_equal(to_rgb(msg), to_rgb(raw))


def test_a_mosaic_that_was_compressed_in_colour_is_read_as_it_is():
    rgb = np.full((6, 8, 3), (200, 100, 30), np.uint8)
    np.testing.assert_array_equal(to_rgb(compressed(rgb, ".png", "bayer_rggb8; png bgr8")), rgb)


def squeezed(values: np.ndarray, form: str, a=0.0, b=0.0):
    """As compressed_depth_image_transport: the quantisation and a 16-bit PNG or RVL stream."""
    packed = rvl(values) if "rvl" in form else cv2.imencode(".png", values)[1].tobytes()
    data = array.array("B", struct.pack("<iff", 0, a, b) + packed)
    return SimpleNamespace(format=form, data=data)


def rvl(values: np.ndarray) -> bytes:
    """Runs of zeros and of deltas in nibbles, eight of them a little-endian word."""
    nibbles: list[int] = []

    def put(number: int) -> None:
        while number > 7:
            nibbles.append(8 | number & 7)
            number >>= 3
        nibbles.append(number)

    pixels, at, last = values.ravel().tolist(), 0, 0
    while at < len(pixels):
        known = next((i for i in range(at, len(pixels)) if pixels[i]), len(pixels))
        unknown = next((i for i in range(known, len(pixels)) if not pixels[i]), len(pixels))
        put(known - at)
        put(unknown - known)
        for pixel in pixels[known:unknown]:
            delta, last = pixel - last, pixel
            put(2 * delta if delta >= 0 else -2 * delta - 1)
        at = unknown
    nibbles += [0] * (-len(nibbles) % 8)
    digits = "".join(f"{nibble:x}" for nibble in nibbles)
    words = [int(digits[start : start + 8], 16) for start in range(0, len(digits), 8)]
    return struct.pack(f"<ii{len(words)}I", values.shape[1], values.shape[0], *words)


def test_an_rvl_stream_made_by_hand_is_read():
    # 0 5 4 0: one unknown, two known: +5 (10: 2 and more, 1), -1 (1); one unknown, none known
    stream = struct.pack("<iffiiI", 0, 0.0, 0.0, 4, 1, 0x12A11100)
    depth_m = to_depth_m(SimpleNamespace(format="16UC1; compressedDepth rvl", data=stream))
    np.testing.assert_allclose(depth_m, [[np.nan, 0.005, 0.004, np.nan]], rtol=1e-6)
    assert rvl(np.array([[0, 5, 4, 0]], np.uint16)) == stream[12:]


@pytest.mark.parametrize("form", ["16UC1; compressedDepth png", "16UC1; compressedDepth"])
def test_millimetres_come_out_of_compressed_depth(form):
    depth_m = to_depth_m(squeezed(np.array([[1234, 0], [65535, 1]], np.uint16), form))
    assert depth_m.dtype == np.float32
    np.testing.assert_allclose(depth_m, [[1.234, np.nan], [65.535, 0.001]], rtol=1e-6)


@given(st.integers(0, 2**32), st.integers(1, 30), st.integers(1, 30), st.floats(0, 1))
def test_rvl_is_read_exactly(seed, height, width, holes):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 65536, (height, width)).astype(np.uint16)
    values[rng.random(values.shape) < holes] = 0
    plain = to_depth_m(squeezed(values, "16UC1; compressedDepth png"))
    np.testing.assert_array_equal(
        to_depth_m(squeezed(values, "16UC1; compressedDepth rvl")), plain
    )


@pytest.mark.parametrize("kind", ["png", "rvl"])
def test_metres_come_out_of_their_inverse(kind):
    depth_m = np.array([[0.5, 1.0], [3.0, 9.5]])
    values = np.array(A / depth_m + B, np.uint16)  # cut off, as the sender does
    values[0, 0] = 0
    found = to_depth_m(squeezed(values, f"32FC1; compressedDepth {kind}", A, B))
    assert np.isnan(found[0, 0])
    step_m = depth_m**2 / A  # what one step of the 16 bits is
    np.testing.assert_array_less(np.abs(found - depth_m).ravel()[1:], step_m.ravel()[1:] + 1e-6)


@pytest.mark.parametrize(
    ("msg", "says"),
    [
        (squeezed(np.ones((2, 2), np.uint8), "16UC1; compressedDepth png"), "16-bit PNG"),
        (squeezed(np.ones((2, 2, 3), np.uint16), "16UC1; compressedDepth png"), "16-bit PNG"),
        (
            squeezed(np.ones((2, 2), np.uint16), "32FC1; compressedDepth png"),
            r"quantisation \(0, 0",
        ),
        (squeezed(np.ones((2, 2), np.uint16), "mono8; compressedDepth png"), "of 16UC1, 32FC1"),
        (SimpleNamespace(format="16UC1; compressedDepth png", data=b"\0" * 11), "11 bytes"),
        (SimpleNamespace(format="16UC1; compressedDepth rvl", data=b"\0" * 19), "19 bytes"),
    ],
)
def test_bad_compressed_depth_is_refused_with_what_came(msg, says):
    with pytest.raises(ConvertError, match=says):
        to_depth_m(msg)


def test_an_rvl_stream_that_promises_too_much_is_refused():
    promise = struct.pack("<iffiiI", 0, 0.0, 0.0, 1 << 20, 1 << 20, 0)
    with pytest.raises(ConvertError, match="24 bytes"):
        to_depth_m(SimpleNamespace(format="16UC1; compressedDepth rvl", data=promise))


@given(
    encoding=st.sampled_from(["16UC1", "32FC1"]),
    kind=st.sampled_from(["png", "rvl"]),
    size=st.tuples(st.integers(-2, 6), st.integers(-2, 6)),
    data=st.binary(max_size=60),
    cut=st.integers(0, 60),
)
def test_any_compressed_depth_is_read_or_refused(encoding, kind, size, data, cut):
    header = struct.pack("<iffii", 0, A, B, *size)
    msg = SimpleNamespace(format=f"{encoding}; compressedDepth {kind}", data=(header + data)[cut:])
    try:
        depth_m = to_depth_m(msg)
    except ConvertError:
        return
    assert depth_m.shape == size[::-1] if kind == "rvl" and not cut else depth_m.ndim == 2
