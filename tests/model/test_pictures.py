"""Pictures of every kind, opened: the right way up, in RGB, or refused in one sentence."""

import io
import warnings
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from molmo_model.pictures import PictureError, open_picture, picture_size

ORIENTATION = 0x0112  # the EXIF tag
# What each orientation makes of an upright picture, as a file stores it.
STORED = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}
RGB = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize("orientation", STORED)
def test_exif_turns_a_picture_upright_unless_told_not_to(orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    stored = np.ascontiguousarray(STORED[orientation](RGB))
    data = encoded(Image.fromarray(stored), exif=exif)
    assert np.array_equal(open_picture(data), RGB)
    assert np.array_equal(open_picture(data, apply_exif=False), stored)


def test_a_path_and_its_bytes_give_the_same(tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(encoded(Image.fromarray(RGB)))
    for source in (path, str(path), path.read_bytes()):
        assert np.array_equal(open_picture(source), RGB)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_are_scaled_not_clipped(kind):
    grey = np.array([[0, 128, 129], [257, 32896, 65535]], np.uint16)  # 257 of 65535 is 1 of 255
    rgb = open_picture(encoded(Image.fromarray(grey), kind))
    assert rgb.dtype == np.uint8
    assert rgb[..., 0].tolist() == [[0, 0, 1], [1, 128, 255]]
    assert (rgb == rgb[..., :1]).all()


def test_16_bits_are_turned_upright_too():
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    grey = np.arange(6, dtype=np.uint16).reshape(2, 3) * 257
    data = encoded(Image.fromarray(np.ascontiguousarray(np.rot90(grey))), exif=exif)
    assert np.array_equal(open_picture(data)[..., 0], grey // 257)


def test_transparency_is_dropped_and_not_composited():
    alpha = np.full((4, 6, 1), 3, np.uint8)
    assert np.array_equal(open_picture(encoded(Image.fromarray(np.dstack([RGB, alpha])))), RGB)


def test_a_palette_with_a_transparent_entry_keeps_its_colours():
    image = Image.frombytes("P", (2, 1), bytes([0, 1]))
    image.putpalette([10, 20, 30, 40, 50, 60])
    rgb = open_picture(encoded(image, transparency=1))
    assert rgb.tolist() == [[[10, 20, 30], [40, 50, 60]]]


@pytest.mark.parametrize("mode", ["L", "LA", "1"])
def test_grey_becomes_three_equal_colours(mode):
    grey = Image.fromarray(RGB[..., 0]).convert(mode)
    rgb = open_picture(encoded(grey))
    assert rgb.shape == (4, 6, 3)
    assert np.array_equal(rgb, np.array(grey.convert("L"))[..., None].repeat(3, axis=2))


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1)])
def test_thin_pictures_keep_their_size(size):
    assert open_picture(encoded(Image.new("RGB", size))).shape == (size[1], size[0], 3)


def test_a_picture_of_48_megapixels_is_opened():
    data = encoded(Image.new("RGB", (8000, 6000), "teal"), "JPEG")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_picture(data).shape == (6000, 8000, 3)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "empty, 0 bytes"),
        (b"no picture", "no picture, or of a kind"),
        (encoded(Image.fromarray(RGB))[:60], "cannot be decoded"),
        (
            encoded(Image.effect_noise((64, 64), 50), "JPEG")[:900],
            "cannot be decoded: image file is truncated",
        ),
        (encoded(Image.new("F", (2, 2)), "TIFF"), "floats have no known range"),
        (encoded(Image.new("I", (2, 2), 70000), "TIFF"), "more than 16 bits"),
    ],
)
def test_what_cannot_be_opened_is_refused_by_name(tmp_path, data, sentence):
    with pytest.raises(PictureError, match=f"the picture: .*{sentence}"):
        open_picture(data)
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(PictureError, match=f"a.png: .*{sentence}"):
        open_picture(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("kind", "options"),
    [("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("BMP", {}), ("TIFF", {})],
)
def test_of_a_file_that_breaks_off_the_pixels_so_far_are_kept_on_demand(kind, options):
    columns = np.linspace(0, 255, 400).astype(np.uint8)
    rgb = np.repeat(np.repeat(columns[None, :, None], 300, axis=0), 3, axis=2)
    exif = Image.Exif()
    exif[ORIENTATION] = 3
    data = encoded(Image.fromarray(np.rot90(rgb, 2)), kind, exif=exif, **options)
    whole = open_picture(data)
    assert np.array_equal(open_picture(data, keep_truncated=True), whole)
    broken = data[: len(data) * 3 // 4]
    with pytest.raises(PictureError, match="cannot be decoded"):
        open_picture(broken)
    kept = open_picture(broken, keep_truncated=True)
    assert kept.shape == whole.shape
    near = np.abs(kept.astype(int) - whole).max(axis=2) < 60  # of a progressive one: coarse
    assert near[-100:].mean() > 0.9  # turned by its EXIF: the file's first rows are the last
    assert not np.array_equal(kept, whole)


@pytest.mark.parametrize(
    "data", [b"", b"no picture", b"\xff\xd8", b"\xff\xd8\xff\xe0\x00\x10JFIF"]
)
def test_what_holds_no_pixels_is_refused_even_so(data):
    with pytest.raises(PictureError, match="the picture: "):
        open_picture(data, keep_truncated=True)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about what it repairs
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP"])
def test_a_damaged_file_is_a_picture_or_refused_and_nothing_else(kind):
    exif = Image.Exif()
    exif[ORIENTATION], exif[0x011A], exif[0x010E] = 6, 72.0, "a description"
    data = np.frombuffer(encoded(Image.fromarray(RGB), kind, exif=exif), np.uint8)
    rng = np.random.default_rng(0)
    for _ in range(300):
        damaged = data[: rng.integers(20, len(data) + 1)].copy()
        places = rng.integers(0, len(damaged), rng.integers(1, 5))
        damaged[places] = rng.integers(0, 256, len(places))
        with suppress(PictureError):
            assert open_picture(damaged.tobytes(), keep_truncated=True).shape[2] == 3


@pytest.mark.filterwarnings("error")
def test_damaged_exif_does_not_lose_the_picture():
    exif = Image.Exif()
    exif[ORIENTATION], exif[0x011A] = 6, 72.0
    data = encoded(Image.fromarray(RGB), "JPEG", exif=exif)
    at = data.index(b"\x01\x1a\x00\x05")  # XResolution, a fraction; said to be a text
    damaged = data[: at + 3] + b"\x02" + data[at + 4 :]
    assert open_picture(damaged).shape == (6, 4, 3)


def test_a_decompression_bomb_is_refused(monkeypatch):
    data = encoded(Image.fromarray(RGB))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(PictureError, match="decompression bomb"):
        open_picture(data)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(PictureError, match=r"none\.png: cannot be read: No such file"):
        open_picture(tmp_path / "none.png")


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_the_size_is_that_of_the_upright_picture(tmp_path, kind, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = tmp_path / "picture"
    Image.new("RGB", (40, 30)).save(path, kind, exif=exif)
    height, width, _ = open_picture(path).shape
    assert picture_size(path) == (width, height)


def test_the_size_of_what_is_no_picture_is_refused(tmp_path):
    path = tmp_path / "picture"
    with pytest.raises(PictureError, match="cannot be read"):
        picture_size(path)
    path.write_bytes(b"no picture")
    with pytest.raises(PictureError, match="no picture"):
        picture_size(path)
