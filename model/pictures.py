"""Opens a picture, from a file or from bytes, as (H, W, 3) uint8.

Knows nothing of sizes and crops (see image.py): what Pillow decodes comes out with its own pixels.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

Rgb = npt.NDArray[np.uint8]
MAX_16_BIT = 65535
_TURNS = {  # EXIF's orientation -> what makes the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)  # of these, those by a quarter
_DAMAGED = (  # raised by Pillow on damaged files, found by damaging some
    *(OSError, SyntaxError, ValueError, RuntimeError, TypeError, AttributeError, struct.error),
    Image.DecompressionBombError,
)
JPEG_BEGIN, JPEG_END = b"\xff\xd8", b"\xff\xd9"


class PictureError(ValueError):
    """A picture that cannot be read or written."""


def open_picture(
    source: str | Path | bytes, *, apply_exif: bool = True, keep_truncated: bool = False
) -> Rgb:
    """Decodes a picture; grey and palettes become RGB, 16 bits are scaled to 8.

    Transparency is dropped, not composited, as in training: what lies below it shows.

    apply_exif: turn the picture upright as its EXIF says. Training did; the published processor
        forgets to, so False gives what it sees.
    keep_truncated: of a file that breaks off take what can be decoded, plain below. So training
        sees pictures of the web; a camera's must be whole.
    raises: PictureError for what is missing, empty, truncated or no picture.
    """
    name = "the picture" if isinstance(source, bytes) else str(source)
    data = source if isinstance(source, bytes) else _read(Path(source))
    if not data:
        raise PictureError(f"{name}: empty, 0 bytes")
    if keep_truncated and data.startswith(JPEG_BEGIN):
        data += JPEG_END  # the decoder then makes the best of it, also of a progressive one
    with _damage_named(name), Image.open(io.BytesIO(data)) as image:
        if keep_truncated:
            _decode_what_is_there(image)
        return _to_rgb(_upright(image) if apply_exif else image)


def picture_size(path: Path) -> tuple[int, int]:
    """Width and height of a file's picture as open_picture shows it, mostly without decoding it.

    raises: PictureError for what is missing, empty or no picture; damaged pixels may go unnoticed.
    """
    data = _read(path)
    with _damage_named(str(path)), Image.open(io.BytesIO(data)) as image:
        if image.format == "TIFF" or (image.format == "PNG" and b"exif" in data.lower()):
            image.load()  # these may be turned by that, or say only behind their pixels how
        turn = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)  # PNG's own decodes
        width, height = image.size
    return (height, width) if turn in _SIDEWAYS else (width, height)


def _read(path: Path) -> bytes:
    """The bytes of a file; raises PictureError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise PictureError(f"{path}: cannot be read: {error.strerror}") from error


@contextmanager
def _damage_named(name: str) -> Iterator[None]:
    """Turns what Pillow raises into one sentence."""
    try:
        yield
    except UnidentifiedImageError:
        raise PictureError(f"{name}: no picture, or of a kind that Pillow cannot read") from None
    except _DAMAGED as error:
        raise PictureError(f"{name}: cannot be decoded: {error}") from error


def _decode_what_is_there(image: Image.Image) -> None:
    """Decodes, and where the file breaks off calls the pixels so far the picture.

    Pillow has a switch for that, but one that changes all threads' decoding.
    """
    try:
        image.load()
    except (OSError, SyntaxError):
        if not isinstance(image, ImageFile.ImageFile) or not image.tile:
            raise
        image.tile = []  # nothing is left to decode
        image.load()


def _upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF says. Pillow's own function also writes EXIF anew, which may fail."""
    image.load()  # turns a TIFF, and then has nothing more to say about it
    turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image) -> Rgb:
    if image.mode.startswith("I"):  # I;16, I;16B; older Pillow decodes 16-bit PNG to I, 32 bits
        return np.repeat(_scale_to_8_bits(np.array(image))[..., None], 3, axis=2)
    if image.mode == "F":
        raise ValueError("floats have no known range; save it with 8 or 16 bits")
    return np.array(image.convert("RGB"))


def _scale_to_8_bits(grey: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    """(H, W) of 16-bit values, whatever the type that holds them."""
    values = grey.astype(np.int64)
    if values.min() < 0 or values.max() > MAX_16_BIT:
        raise ValueError("more than 16 bits per value; save it with 8 or 16 bits")
    return ((values * 255 + MAX_16_BIT // 2) // MAX_16_BIT).astype(np.uint8)
