import array
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rosbags.image import message_to_cvimage

from molmo_ros import convert
from molmo_ros.convert import ConvertError, fill_depth, fill_image, to_depth_m, to_rgb

CHANNELS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1, "8UC3": 3}
MOSAICS = ("rggb", "bggr", "gbrg", "grbg")
SUBSAMPLED = {"yuv422": 2, "uyvy": 2, "yuv422_yuy2": 2, "yuyv": 2, "nv12": 1, "nv21": 1}
BYTES = {  # a pixel; of nv12 and nv21 in the rows of brightness
    **CHANNELS,
    **SUBSAMPLED,
    **{f"bayer_{mosaic}8": 1 for mosaic in MOSAICS},
    **{f"bayer_{mosaic}16": 2 for mosaic in MOSAICS},
    "mono16": 2,
    "16UC1": 2,
    "32FC1": 4,
}


def image(encoding, height, width, data, step=None, big=False):
    """As sensor_msgs/Image."""
    return SimpleNamespace(
        encoding=encoding,
        height=height,
        width=width,
        step=width * BYTES.get(encoding, 1) if step is None else step,
        is_bigendian=int(big),
        data=array.array("B", data),
    )


def rows(encoding, height):
    """Of the buffer: nv12 and nv21 have their colours below."""
    return height * 3 // 2 if encoding.startswith("nv") else height


def is_picture(encoding, height, width):
    """Whether there is a picture of this size in this encoding."""
    if encoding.startswith("bayer"):
        return height >= 3 and width >= 3
    blocks = 2 if encoding in SUBSAMPLED else 1
    lines = 2 if encoding.startswith("nv") else 1
    return height > 0 and width > 0 and width % blocks == 0 and height % lines == 0


def random_image(encoding, height=6, width=8, padding=0, big=False):
    step = width * BYTES[encoding] + padding
    data = np.random.default_rng(3).integers(0, 256, rows(encoding, height) * step, np.uint8)
    return image(encoding, height, width, data.tobytes(), step, big)


@pytest.mark.parametrize(
    ("encoding", "data", "rgb"),
    [
        ("rgb8", [1, 2, 3], [1, 2, 3]),
        ("bgr8", [1, 2, 3], [3, 2, 1]),
        ("8UC3", [1, 2, 3], [3, 2, 1]),
        ("rgba8", [1, 2, 3, 9], [1, 2, 3]),
        ("bgra8", [1, 2, 3, 9], [3, 2, 1]),
        ("mono8", [7], [7, 7, 7]),
        ("mono16", [0xFF, 0x12], [0x12, 0x12, 0x12]),  # little endian 0x12FF
    ],
)
def test_one_pixel_of_every_encoding_has_the_right_colour(encoding, data, rgb):
    assert to_rgb(image(encoding, 1, 1, data)).tolist() == [[rgb]]


@pytest.mark.parametrize(
    ("encoding", "height", "data"),  # of pure blue: Y 41, U 240, V 110 in the range of video
    [
        ("uyvy", 1, [240, 41, 110, 41]),
        ("yuv422", 1, [240, 41, 110, 41]),
        ("yuyv", 1, [41, 240, 41, 110]),
        ("yuv422_yuy2", 1, [41, 240, 41, 110]),
        ("nv12", 2, [41, 41, 41, 41, 240, 110]),
        ("nv21", 2, [41, 41, 41, 41, 110, 240]),
    ],
)
def test_yuv_is_that_of_bt601(encoding, height, data):
    pixels = to_rgb(image(encoding, height, 2, data)).astype(int)
    assert np.abs(pixels - [0, 0, 255]).max() <= 2  # the rounding of Y, U and V


@pytest.mark.parametrize("mosaic", MOSAICS)
@pytest.mark.parametrize("colour", [0, 1, 2])
def test_each_place_of_a_mosaic_has_its_colour(mosaic, colour):
    cells = np.array([255 * ("rgb"[colour] == letter) for letter in mosaic], np.uint8)
    data = np.tile(cells.reshape(2, 2), (3, 4))
    expected = 255 * np.eye(3, dtype=int)[colour]
    assert (to_rgb(image(f"bayer_{mosaic}8", 6, 8, data.tobytes())) == expected).all()


@pytest.mark.parametrize(
    "encoding",
    sorted(name for name in convert.COLOUR if name != "8UC3" and not name.endswith("16")),
)  # rosbags leaves the order of 8UC3 open
@pytest.mark.parametrize("big", [False, True])
@given(half_height=st.integers(2, 20), half_width=st.integers(2, 20))
def test_images_equal_those_of_rosbags(encoding, big, half_height, half_width):
    msg = random_image(encoding, 2 * half_height, 2 * half_width, big=big)
    if encoding.startswith("nv"):  # it takes the height for that of the buffer
        tall = random_image(encoding, 2 * half_height, 2 * half_width)
        tall.height = rows(encoding, tall.height)
        np.testing.assert_array_equal(to_rgb(msg), message_to_cvimage(tall, "rgb8"))
    else:
        np.testing.assert_array_equal(to_rgb(msg), message_to_cvimage(msg, "rgb8"))


@pytest.mark.parametrize("encoding", sorted(n for n in convert.COLOUR if n.startswith("bayer")))
@given(height=st.integers(3, 9), width=st.integers(3, 9))
def test_mosaics_of_odd_sizes_are_read(encoding, height, width):
    msg = random_image(encoding, height, width)
    theirs = message_to_cvimage(msg, "rgb8" if encoding.endswith("8") else "rgb16")
    ours = to_rgb(msg)
    assert ours.shape == (height, width, 3)
    np.testing.assert_array_equal(ours, theirs >> (8 if theirs.dtype == np.uint16 else 0))


@pytest.mark.parametrize("big", [False, True])
def test_16_bit_grey_equals_rosbags_up_to_its_rounding(big):
    msg = random_image("mono16", big=big)
    ours = to_rgb(msg)[:, :, 0].astype(int)
    theirs = message_to_cvimage(msg, "mono16") / 257  # it scales by 255 / 65535
    assert np.abs(ours - theirs).max() < 1


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("mosaic", MOSAICS)
def test_16_bit_mosaics_are_read_in_both_byte_orders(mosaic, big):
    msg = random_image(f"bayer_{mosaic}16", big=big)
    theirs = message_to_cvimage(msg, "rgb16")
    np.testing.assert_array_equal(to_rgb(msg), theirs >> 8)


@pytest.mark.parametrize("encoding", BYTES)
def test_padded_rows_read_the_same_as_packed_ones(encoding):
    padded = random_image(encoding, padding=7)
    lines = np.frombuffer(padded.data, np.uint8).reshape(rows(encoding, 6), -1)[:, :-7]
    packed = image(encoding, 6, 8, lines.tobytes())
    read = to_rgb if encoding in convert.COLOUR else to_depth_m
    np.testing.assert_array_equal(read(padded), read(packed))


def test_packed_rgb_is_not_copied():
    msg = random_image("rgb8")
    assert np.shares_memory(to_rgb(msg), np.frombuffer(msg.data, np.uint8))


@pytest.mark.parametrize("big", [False, True])
def test_millimetres_become_metres_and_zero_is_unknown(big):
    data = np.array([1234, 0, 65535], ">u2" if big else "<u2").tobytes()
    depth = to_depth_m(image("16UC1", 1, 3, data, big=big))
    assert depth.dtype == np.float32
    np.testing.assert_allclose(depth, [[1.234, np.nan, 65.535]], rtol=1e-6)


@pytest.mark.parametrize("big", [False, True])
def test_metres_stay_and_what_is_no_distance_is_unknown(big):
    values = np.array([0.5, 0, -1, np.inf, -np.inf, np.nan], ">f4" if big else "<f4")
    depth = to_depth_m(image("32FC1", 1, 6, values.tobytes(), big=big))
    np.testing.assert_array_equal(depth, [[0.5] + [np.nan] * 5])


def test_reading_depth_leaves_the_message_alone():
    msg = image("32FC1", 1, 1, np.array([-1.0], np.float32).tobytes())
    to_depth_m(msg)
    assert np.frombuffer(msg.data, np.float32) == -1.0


@pytest.mark.parametrize(
    ("msg", "says"),
    [
        (image("rgb8", 0, 5, []), "5x0 pixels"),
        (image("rgb8", 5, 0, []), "0x5 pixels"),
        (image("rgb8", 1, 2, [0] * 6, step=5), r"5 bytes a row .* take 6"),
        (image("rgb8", 2, 1, [0] * 5), r"5 bytes.*are 6"),
        (image("rgb8", 2, 1, []), r"0 bytes.*are 6"),
        (image("16UC1", 1, 1, [0, 0]), "'16UC1': supported are rgb8, bgr8"),
        (image("jpeg2000", 1, 1, [0]), "'jpeg2000': supported are rgb8.* where cv_bridge"),
        (image("bayer_rggb8", 2, 9, [0] * 18), "9x2 pixels: wanted 3x3 or more"),
        (image("yuyv", 2, 3, [0] * 12), "3x2 pixels.* blocks of 2x1"),
        (image("nv12", 3, 2, [0] * 9), "2x3 pixels.* blocks of 2x2"),
        (image("nv12", 2, 2, [0] * 5), r"5 bytes, but 3 rows of 2 bytes are 6"),
    ],
)
def test_a_bad_image_is_refused_with_what_came(msg, says):
    with pytest.raises(ConvertError, match=says):
        to_rgb(msg)


def test_colour_is_no_depth():
    with pytest.raises(ConvertError, match="'rgb8': supported are 16UC1, 32FC1"):
        to_depth_m(random_image("rgb8"))
    with pytest.raises(ConvertError, match="compressedDepth.*16UC1, 32FC1"):
        to_depth_m(SimpleNamespace(format="rgb8; jpeg compressed bgr8", data=b""))


@given(
    encoding=st.sampled_from([*BYTES, "yuv444", ""]),
    height=st.integers(0, 5),
    width=st.integers(0, 5),
    step=st.integers(0, 24),
    big=st.booleans(),
    data=st.binary(max_size=130),
)
def test_any_message_is_read_within_its_buffer_or_refused(
    encoding, height, width, step, big, data
):
    msg = image(encoding, height, width, data, step, big)
    row = width * BYTES.get(encoding, 1)
    fits = step >= row and len(data) >= step * rows(encoding, height)
    whole = is_picture(encoding, height, width) and fits
    for read, table in ((to_rgb, convert.COLOUR), (to_depth_m, convert.DEPTH)):
        if whole and encoding in table:
            assert read(msg).shape[:2] == (height, width)
        else:
            with pytest.raises(ConvertError):
                read(msg)


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8"])
def test_reading_undoes_filling(encoding):
    messages = pytest.importorskip("sensor_msgs.msg", reason="needs the messages of ROS 2")
    rgb = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    msg = messages.Image()
    fill_image(msg, rgb[:, ::2], encoding)  # a strided view
    assert (msg.encoding, msg.height, msg.width, msg.step) == (encoding, 4, 3, 9)
    np.testing.assert_array_equal(to_rgb(msg), rgb[:, ::2])


@pytest.mark.parametrize(("encoding", "tolerance"), [("32FC1", 0), ("16UC1", 5e-4)])
def test_reading_undoes_filling_depth(encoding, tolerance):
    messages = pytest.importorskip("sensor_msgs.msg", reason="needs the messages of ROS 2")
    depth = np.array([[0.5004, 1.2], [np.nan, 3.25]], np.float32)
    msg = messages.Image()
    fill_depth(msg, depth, encoding)
    # half a millimetre: what 16UC1 rounds away
    np.testing.assert_allclose(to_depth_m(msg), depth, atol=tolerance, rtol=1e-7)


def test_depth_beyond_16_bit_millimetres_becomes_unknown():
    messages = pytest.importorskip("sensor_msgs.msg", reason="needs the messages of ROS 2")
    msg = messages.Image()
    fill_depth(msg, np.array([[66.0, np.inf, -1.0]], np.float32), "16UC1")
    assert np.isnan(to_depth_m(msg)).all()


def test_an_encoding_that_we_do_not_write_is_refused():
    with pytest.raises(ConvertError, match="'mono8': supported are rgb8 and bgr8"):
        fill_image(SimpleNamespace(), np.zeros((1, 1, 3), np.uint8), "mono8")
    with pytest.raises(ConvertError, match="'mono16': supported are 16UC1, 32FC1"):
        fill_depth(SimpleNamespace(), np.ones((1, 1), np.float32), "mono16")
