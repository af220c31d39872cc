"""Preprocessing against the published processor: tiling, crops, masks, tokens and their index."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
from recipes import GOLDEN, recipe_rgb
from safetensors.numpy import load_file

from molmo_model.config import CropConfig, DecoderConfig, MolmoConfig
from molmo_model.image import choose_tiles, prepare_image, resize

# Against another exact float resize; golden README: samples 2e-4, channel means 3e-5.
SAMPLE_TOLERANCE, MEAN_TOLERANCE = 2e-4, 3e-5

CASES = json.loads((GOLDEN / "preprocessing" / "preprocessing.json").read_text())
TILING = json.loads((GOLDEN / "text" / "tiling.json").read_text())["rows"]


@pytest.fixture(scope="module")
def config() -> MolmoConfig:
    """The published geometry and the vocabulary of 7B-D; the network's sizes do not matter."""
    decoder = DecoderConfig(
        vocab_size=152064,
        embedding_size=152064,
        width=64,
        mlp=96,
        layers=1,
        heads=4,
        kv_heads=2,
        norm_eps=1e-6,
        rope_theta=1e6,
    )
    return MolmoConfig(decoder=decoder)


@pytest.fixture(scope="module")
def tensors():
    return load_file(GOLDEN / "preprocessing" / "preprocessing.safetensors")


def test_every_size_gets_the_published_tiles(config):
    for height, width, max_crops, rows, columns, _ in TILING:
        crops = replace(config.crops, max_crops=max_crops)
        assert choose_tiles(height, width, crops) == (rows, columns), (height, width, max_crops)


@pytest.mark.parametrize("name", CASES["cases"])
def test_pictures_become_the_published_crops(name, config, tensors):
    case = CASES["cases"][name]
    image = prepare_image(recipe_rgb(case["recipe"], case["rgb_sha256"]), config)
    ids = np.concatenate([[CASES["bos_id"]], image.tokens, CASES["text_ids"]])
    assert np.array_equal(ids, tensors[f"{name}.input_ids"])
    assert np.array_equal(image.index, tensors[f"{name}.image_input_idx"])
    assert np.array_equal(image.masks, tensors[f"{name}.image_masks"])
    assert _sha256(image.masks) == case["mask_sha256"]
    sampled = image.crops[tuple(tensors[f"{name}.sample_index"].T)]
    assert np.abs(sampled - tensors[f"{name}.sample_value"]).max() < SAMPLE_TOLERANCE
    means = image.crops.reshape(*image.crops.shape[:2], -1, 3).mean(2, dtype=np.float64)
    assert np.abs(means - tensors[f"{name}.patch_channel_means"]).max() < MEAN_TOLERANCE


@pytest.mark.parametrize("shape", [(1, 500, 3), (400, 1, 3)])
def test_a_side_that_would_vanish_keeps_one_pixel(shape, config):
    image = prepare_image(np.full(shape, 255, np.uint8), config)
    assert image.masks[:-1].max() > 0
    assert np.isfinite(image.crops).all()


def test_resizing_keeps_a_flat_colour_and_a_ramp():
    flat = resize(np.full((31, 17, 3), 51, np.uint8), 12, 40)
    assert np.allclose(flat, 0.2, atol=1e-6)
    ramp = np.tile(np.arange(0, 200, 2, dtype=np.uint8)[None, :, None], (4, 1, 3))
    halved = resize(ramp, 4, 50)[0, 1:-1, 0] * 255  # the borders lack half of their filter
    assert np.allclose(halved, np.arange(0, 200, 4)[1:-1] + 1, atol=1e-4)


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), "u1")],
)
def test_what_is_no_picture_is_refused_by_shape_and_type(wrong, config):
    with pytest.raises(ValueError, match=r"\(H, W, 3\) uint8"):
        prepare_image(wrong, config)


def test_another_geometry_owns_every_fine_cell_once():
    crops = CropConfig(size=168, margins=(2, 2), max_crops=6)
    decoder = DecoderConfig(
        vocab_size=10, embedding_size=10, width=8, mlp=8, layers=1, heads=1, kv_heads=1,
        norm_eps=1e-6, rope_theta=1e4,
    )  # fmt: skip
    config = MolmoConfig(decoder=decoder, crops=crops)
    image = prepare_image(np.zeros((480, 640, 3), np.uint8), config)
    sequence = np.concatenate([[0], image.tokens])
    kept = np.sort(image.index[image.index >= 0])
    assert np.array_equal(kept, np.flatnonzero(sequence == config.image_tokens.patch))


def _sha256(array) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
