"""Preprocessing against the published processor: tiling, crops, masks, tokens and their index."""

import hashlib
import json
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recipes import GOLDEN, recipe_rgb
from safetensors.numpy import load_file

from molmo_model.config import CropConfig, DecoderConfig, MolmoConfig
from molmo_model.image import choose_tiles, fit_inside, prepare_image

# What torch's own float32 resize is allowed; ours rounds the same centres and differs by 2e-6.
SAMPLE_TOLERANCE, MEAN_TOLERANCE = 1e-5, 1e-5

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


def slow_crops(rgb, config):
    """The published definition in float64, one pixel after the other: the crops of a picture."""
    crops = config.crops
    tiles, side = choose_tiles(*rgb.shape[:2], crops), crops.size
    fine = fitted(rgb, [n * crops.window_px + crops.margin_px for n in tiles], crops)
    corners = [(r * crops.window_px, c * crops.window_px) for r, c in np.ndindex(*tiles)]
    cut = [fitted(rgb, [side, side], crops)]
    cut += [fine[y : y + side, x : x + side] for y, x in corners]
    n, p = crops.patches_per_side, crops.patch
    cells = np.stack(cut).reshape(len(cut), n, p, n, p, 3).swapaxes(2, 3)
    return cells.reshape(len(cut), n * n, p * p * 3)


def fitted(rgb, size, crops):
    """Resized, centred on black, normalised."""
    h, w, top, left = fit_inside(*rgb.shape[:2], size)
    canvas = np.zeros((*size, 3))
    down, across = triangle(len(rgb), h), triangle(rgb.shape[1], w)
    canvas[top : top + h, left : left + w] = np.einsum(
        "yi,xj,ijc->yxc", down, across, rgb / 255, optimize=True
    )
    return (canvas - crops.mean) / crops.std


def triangle(source, target):
    """(target, source) weights of an antialiased bilinear resize."""
    scale = source / target
    centres = (np.arange(target)[:, None] + 0.5) * scale
    distances = np.abs(np.arange(source) + 0.5 - centres) / max(scale, 1)
    weights = np.maximum(1 - distances, 0)
    return weights / weights.sum(axis=1, keepdims=True)


@settings(max_examples=20, deadline=None, database=None)
@given(
    height=st.integers(1, 400),
    width=st.integers(1, 400),
    side=st.sampled_from(
        [(336, 14, (4, 4)), (168, 14, (2, 2)), (64, 8, (2, 0)), (90, 15, (2, 2))]
    ),
    seed=st.integers(0, 2**32 - 1),
)
def test_crops_are_those_of_the_definition(config, height, width, side, seed):
    size, patch, margins = side
    crops = replace(config.crops, size=size, patch=patch, margins=margins, max_crops=5)
    config = replace(config, crops=crops)
    rgb = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    # Noise is the worst case: float32 centres are off by 3e-5 pixels, a pixel by 3.7 at most.
    assert np.abs(prepare_image(rgb, config).crops - slow_crops(rgb, config)).max() < 1.5e-4


@pytest.mark.parametrize("step", [(slice(None), slice(None), slice(None, None, -1)), np.s_[::2]])
def test_a_view_of_a_picture_is_that_picture(config, step):
    view = np.random.default_rng(0).integers(0, 256, (120, 90, 3), np.uint8)[step]
    expected = prepare_image(np.ascontiguousarray(view), config)
    assert np.array_equal(prepare_image(view, config).crops, expected.crops)


def test_a_read_only_picture_is_one_like_others(config):
    rgb = np.random.default_rng(0).integers(0, 256, (120, 90, 3), np.uint8)
    expected = prepare_image(rgb, config)
    rgb.setflags(write=False)  # as the bytes of a message
    assert np.array_equal(prepare_image(rgb, config).crops, expected.crops)


def test_what_is_done_to_the_inputs_does_not_reach_the_next_picture(config):
    rgb = np.random.default_rng(0).integers(0, 256, (120, 90, 3), np.uint8)
    expected = prepare_image(rgb, config)
    spoilt = prepare_image(rgb, config)
    for name in ("crops", "masks", "tokens", "index"):
        getattr(spoilt, name)[:] = 0
    again = prepare_image(rgb, config)
    for name in ("crops", "masks", "tokens", "index"):
        assert np.array_equal(getattr(again, name), getattr(expected, name)), name


def test_a_picture_resized_in_strips_is_the_same(config, monkeypatch):
    rgb = np.random.default_rng(0).integers(0, 256, (300, 500, 3), np.uint8)
    whole = prepare_image(rgb, config).crops
    monkeypatch.setattr("molmo_model.image.STRIP_VALUES", 1)
    assert np.abs(prepare_image(rgb, config).crops - whole).max() < 1e-5  # other block borders


@pytest.mark.parametrize("shape", [(6000, 8000, 3), (1, 40000, 3)])
def test_a_huge_picture_needs_less_memory_than_itself_in_float(config, shape):
    rgb = np.full(shape, 255, np.uint8)
    tracemalloc.start()
    image = prepare_image(rgb, config)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 45e6 + rgb.size / 5  # 13 crops and one strip; rows of a block
    white = (1 - np.array(config.crops.mean)) / config.crops.std
    inside = image.crops[1:][image.masks[:-1] == 1].reshape(-1, 3)
    assert np.allclose(inside, white, atol=1e-5)


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
