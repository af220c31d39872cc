"""Every published variant, exported in both dialects, computes what torch and the reference do."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pytest
from bundles import golden_bundle
from recipes import GOLDEN, hash_pixels, recipe_rgb
from safetensors.numpy import load_file

from molmo_engine.bundle import Bundle
from molmo_engine.ort_runtime import OrtRuntime, dialects_here
from molmo_model.config import MolmoConfig
from molmo_model.image import prepare_image
from molmo_model.torch_runtime import TorchRuntime

VARIANTS = ["tiny-qwen2", "tiny-olmo", "tiny-moe"]
CASES = ["text", "crops2", "wide", "tall", "max12", "batch_0", "batch_1"]
DIALECTS = dialects_here()
TORCH = 2e-4  # absolute, of logits up to 10: fp32 in other orders of summation
GOLDEN_HASH, GOLDEN_PICTURE = 3e-4, 3e-3  # the tolerances of the golden numbers


@cache
def numbers(variant):
    return load_file(GOLDEN / variant / "golden.safetensors")


@cache
def recipe(variant, case):
    return json.loads((GOLDEN / variant / "golden.json").read_text())["cases"][case]


@cache
def runtime(variant, dialect):
    if dialect == "torch":
        return TorchRuntime.from_checkpoint(GOLDEN / variant)
    return OrtRuntime(Bundle.open(golden_bundle(variant=variant)), threads=1, dialect=dialect)


@cache
def question(variant, case):
    """Ids (T,), and the picture's crops, masks and index, None for text alone."""
    stored = numbers(variant)
    if case.startswith("batch"):
        row = int(case[-1])
        known = recipe(variant, "batch")["rows"][row]
        crops = hash_pixels(known["n_crops"], known["hash_seed"])
        masks, index = (stored[f"batch.image_{n}"][row] for n in ("masks", "input_idx"))
        ids = stored["batch.input_ids"][row, : known["valid_len"]]
        image = crops, masks[: len(crops)], index[: len(crops)].astype(np.int64)
        return ids.astype(np.int64), image
    ids = stored[f"{case}.input_ids"][0].astype(np.int64)
    if case == "text":
        return ids, None
    known = recipe(variant, case)
    if "hash_seed" in known:
        crops = hash_pixels(known["n_crops"], known["hash_seed"])
        index = stored[f"{case}.image_input_idx"].astype(np.int64)
        return ids, (crops, stored[f"{case}.image_masks"], index)
    config = MolmoConfig.from_json(GOLDEN / variant / "config.json")
    image = prepare_image(recipe_rgb(known["recipe"], known["rgb_sha256"]), config)
    return ids, (image.crops, image.masks, image.index)


@cache
def answer(variant, case, dialect):
    """Features (T, D) or None, and logits (n, V) while the reference's own tokens are read."""
    one, (ids, image) = runtime(variant, dialect), question(variant, case)
    features = None if image is None else one.encode(*image, len(ids))
    logits = [one.prefill(ids, features).copy()]
    for token in expected(variant, case)[0][:-1]:
        logits.append(one.step(np.array([token], np.int64))[0].copy())
    return features, np.stack(logits)


def expected(variant, case):
    """The reference's greedy tokens (n,) and their logits (n, V)."""
    name, *row = case.split("_")
    tokens, logits = (numbers(variant)[f"{name}.{what}"] for what in ("generated", "gen_logits"))
    return (tokens[int(row[0])], logits[int(row[0])]) if row else (tokens, logits)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_bundle_generates_as_the_reference(variant, case, dialect):
    tokens, wanted = expected(variant, case)
    _, logits = answer(variant, case, dialect)
    is_picture = case in ("wide", "tall", "max12")
    assert np.abs(logits - wanted).max() < (GOLDEN_PICTURE if is_picture else GOLDEN_HASH)
    assert (logits.argmax(-1) == tokens).all()


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_bundle_computes_as_torch(variant, case, dialect):
    features, logits = answer(variant, case, dialect)
    wanted_features, wanted = answer(variant, case, "torch")
    assert np.abs(logits - wanted).max() < TORCH
    if features is not None:
        assert np.abs(features - wanted_features).max() < TORCH


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_packed_annotations_are_read_one_at_a_time(variant, dialect):
    """A bundle knows no packing: each annotation follows its picture, as if it were alone."""
    stored, one = numbers(variant), runtime(variant, dialect)
    ids, segments = (stored[f"packed.{n}"].ravel() for n in ("input_ids", "subsegment_ids"))
    known = recipe(variant, "packed")
    crops = hash_pixels(known["n_crops"], known["hash_seed"])
    picture, wanted = (
        segments.max(),
        dict(zip(stored["packed.logit_positions"], stored["packed.logits"], strict=True)),
    )
    for segment in np.setdiff1d(segments, [picture]):
        places = np.flatnonzero((segments == picture) | (segments == segment))
        index = stored["packed.image_input_idx"].astype(np.int64)
        features = one.encode(crops, stored["packed.image_masks"], index, len(places))
        first = int((segments == picture).sum())
        one.prefill(ids[places[:first]].astype(np.int64), features[:first])
        for place in places[first:]:
            logits = one.step(ids[[place]].astype(np.int64))[0]
            if place in wanted:
                assert np.abs(logits - wanted.pop(place)).max() < GOLDEN_HASH
    assert all(segments[place] == picture for place in wanted)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_features_with_every_kind_of_padding_are_those_of_the_reference(variant, dialect):
    features, _ = answer(variant, "crops2", dialect)
    index = numbers(variant)["crops2.image_input_idx"]
    shown = index >= 0
    wanted = numbers(variant)["crops2.connector"][shown]
    assert np.abs(features[index[shown]] - wanted).max() < 2e-4
    assert not features[np.setdiff1d(np.arange(len(features)), index[shown])].any()


@pytest.mark.parametrize("dialect", DIALECTS)
def test_both_ways_of_mixing_experts_agree(dialect):
    """A prompt at once runs all experts; a few tokens at a time gather the chosen ones."""
    one = runtime("tiny-moe", dialect)
    ids, _ = question("tiny-moe", "text")
    together = one.prefill(ids, None).copy()
    one.prefill(ids[:8], None)
    one.step(ids[8:16])
    assert np.abs(one.step(ids[16:])[-1] - together).max() < 1e-4


def test_the_two_graphs_of_a_mixture_share_their_weights():
    folder = golden_bundle(variant="tiny-moe")
    stored = (GOLDEN / "tiny-moe" / "model.safetensors").stat().st_size
    assert (folder / "weights.safetensors").stat().st_size < 1.6 * stored  # with rotary tables
    parts = {spec.part for spec in Bundle.open(folder).manifest.graphs}
    assert parts == {"vision", "decoder", "prefill"}
