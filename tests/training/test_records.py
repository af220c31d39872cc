"""Pictures come from bytes, files, a store or a drawer, and say when they do not."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from molmo_model.pictures import PictureError
from molmo_training.records import Picture, Remote

RGB = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)


class Shelf:
    """A store of one file, which remembers what it was asked for."""

    def __init__(self, data: bytes):
        self.data, self.asked = data, []

    def read(self, url, sha256=""):
        self.asked.append((url, sha256))
        return self.data


@pytest.fixture
def png(tmp_path):
    path = tmp_path / "picture.png"
    Image.fromarray(RGB).save(path)
    return path


def test_bytes_files_and_drawings_load_alike(png):
    for source in (png.read_bytes(), png, lambda: RGB):
        assert np.array_equal(Picture(source).load(), RGB)


def test_a_picture_of_the_web_comes_from_the_store_with_its_hash(png):
    shelf = Shelf(png.read_bytes())
    assert np.array_equal(Picture(Remote("http://x/a.png", "ab12")).load(shelf), RGB)
    assert shelf.asked == [("http://x/a.png", "ab12")]


def test_a_picture_of_the_web_may_break_off(png):
    shelf = Shelf(png.read_bytes()[:-20])  # without its end mark and the last check sum
    assert Picture(Remote("http://x/a.png")).load(shelf).shape == RGB.shape
    with pytest.raises(PictureError, match="cannot be decoded"):
        Picture(png.read_bytes()[:-20]).load()


def test_a_picture_of_the_web_without_a_store_is_refused():
    with pytest.raises(PictureError, match=r"http://x/a\.png: of the web, and no picture store"):
        Picture(Remote("http://x/a.png")).load()


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(PictureError, match=r"gone\.png"):
        Picture(tmp_path / "gone.png").load()
