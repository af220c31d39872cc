import array
import io
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rosbags.image import message_to_cvimage

from molmo_ros import convert
from molmo_ros.convert import ConvertError, fill_depth, fill_image, to_depth_m, to_rgb

CHANNELS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1, "8UC3": 3}
BYTES = {**CHANNELS, "mono16": 2, "16UC1": 2, "32FC1": 4}  # a pixel


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


def random_image(encoding, height=6, width=5, padding=0, big=False):
    step = width * BYTES[encoding] + padding
    data = np.random.default_rng(3).integers(0, 256, height * step, np.uint8)
    return image(encoding, height, width, data.tobytes(), step, big)


def compressed(rgb, extension, form=None):
    ok, data = cv2.imencode(extension, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    assert ok
    return SimpleNamespace(format=form or f"rgb8; {extension}", data=array.array("B", data))


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
    "encoding", sorted(CHANNELS.keys() - {"8UC3"})
)  # rosbags leaves its order open
@pytest.mark.parametrize("big", [False, True])
def test_images_equal_those_of_rosbags(encoding, big):
    msg = random_image(encoding, big=big)
    np.testing.assert_array_equal(to_rgb(msg), message_to_cvimage(msg, "rgb8"))


@pytest.mark.parametrize("big", [False, True])
def test_16_bit_grey_equals_rosbags_up_to_its_rounding(big):
    msg = random_image("mono16", big=big)
    ours = to_rgb(msg)[:, :, 0].astype(int)
    theirs = message_to_cvimage(msg, "mono16") / 257  # it scales by 255 / 65535
    assert np.abs(ours - theirs).max() < 1


@pytest.mark.parametrize("encoding", [*CHANNELS, "mono16", "16UC1", "32FC1"])
def test_padded_rows_read_the_same_as_packed_ones(encoding):
    padded = random_image(encoding, padding=7)
    rows = np.frombuffer(padded.data, np.uint8).reshape(6, -1)[:, :-7]
    packed = image(encoding, 6, 5, rows.tobytes())
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


@pytest.mark.parametrize(
    ("msg", "says"),
    [
        (image("rgb8", 0, 5, []), "5x0 pixels"),
        (image("rgb8", 5, 0, []), "0x5 pixels"),
        (image("rgb8", 1, 2, [0] * 6, step=5), r"5 bytes a row .* take 6"),
        (image("rgb8", 2, 1, [0] * 5), r"5 bytes.*are 6"),
        (image("rgb8", 2, 1, []), r"0 bytes.*are 6"),
        (image("16UC1", 1, 1, [0, 0]), "'16UC1': supported are rgb8, bgr8"),
        (image("jpeg2000", 1, 1, [0]), "'jpeg2000': supported are rgb8"),
    ],
)
def test_a_bad_image_is_refused_with_what_came(msg, says):
    with pytest.raises(ConvertError, match=says):
        to_rgb(msg)


def test_colour_is_no_depth():
    with pytest.raises(ConvertError, match="'rgb8': supported are 16UC1, 32FC1"):
        to_depth_m(random_image("rgb8"))
    with pytest.raises(ConvertError, match="compressedDepth.*16UC1, 32FC1"):
        to_depth_m(SimpleNamespace(format="16UC1; compressedDepth png", data=b""))


@given(
    encoding=st.sampled_from([*BYTES, "yuv422", ""]),
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
    whole = height > 0 and width > 0 and step >= row and len(data) >= step * height
    for read, table in ((to_rgb, convert.COLOUR), (to_depth_m, convert.DEPTH)):
        if whole and encoding in table:
            assert read(msg).shape[:2] == (height, width)
        else:
            with pytest.raises(ConvertError):
                read(msg)


@given(data=st.binary(max_size=200), png=st.booleans())
def test_any_bytes_are_decoded_or_refused(data, png):
    start = b"\x89PNG\r\n\x1a\n" if png else b"\xff\xd8\xff\xdb"
    try:
        rgb = to_rgb(SimpleNamespace(format="jpeg", data=array.array("B", start + data)))
    except ConvertError:
        return
    assert rgb.ndim == 3 and rgb.shape[2] == 3


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
