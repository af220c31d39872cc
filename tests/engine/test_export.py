"""An exported bundle computes what the checkpoint does, and appears whole or not at all."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
from bundles import tiny_bundle, tiny_checkpoint
from recipes import GOLDEN
from safetensors.numpy import load_file, save_file

from molmo_engine.bundle import Bundle
from molmo_engine.export import ExportError, export_bundle, largest_image, needed_capacity
from molmo_engine.ort_runtime import OrtRuntime, dialects_here
from molmo_engine.verify import VerifyError, verify_bundle
from molmo_model.config import CropConfig, MolmoConfig
from molmo_model.image import prepare_image
from molmo_model.weights import WeightsError

DIALECTS = dialects_here()


@pytest.mark.parametrize("dialect", DIALECTS)
def test_reading_eight_tokens_at_once_equals_reading_them_one_by_one(dialect):
    runtime = OrtRuntime(Bundle.open(tiny_bundle()), threads=1, dialect=dialect)
    prompt, more = np.arange(5), np.arange(60, 68)
    runtime.prefill(prompt, None)
    singly = np.concatenate([runtime.step(more[i : i + 1]).copy() for i in range(8)])
    runtime.prefill(prompt, None)
    together = runtime.step(more)
    np.testing.assert_allclose(together, singly, atol=1e-4 * np.abs(together).max())


def test_a_prompt_forgets_the_one_before():
    runtime = OrtRuntime(Bundle.open(tiny_bundle()), threads=1)
    first = runtime.prefill(np.arange(4), None).copy()
    runtime.prefill(np.arange(100, 160), None)
    assert (runtime.prefill(np.arange(4), None) == first).all()


def test_a_full_cache_refuses_another_token():
    runtime = OrtRuntime(Bundle.open(tiny_bundle()), threads=1)
    runtime.prefill(np.arange(200).repeat(4)[: runtime.capacity], None)
    with pytest.raises(ValueError, match=f"holds {runtime.capacity} tokens"):
        runtime.step(np.array([1]))


def test_half_precision_stays_within_its_bits():
    verdict = verify_bundle(tiny_bundle("fp16"), tiny_checkpoint())
    assert 0 < verdict.logit_error < 2e-2
    assert Bundle.open(tiny_bundle("fp16")).manifest.precision == "fp16"


def test_verification_notices_other_weights(tmp_path):
    other = shutil.copytree(tiny_checkpoint(), tmp_path / "other")
    tensors = load_file(other / "model.safetensors")
    tensors["model.transformer.blocks.1.ff_out.weight"][3] *= 1.01
    save_file(tensors, other / "model.safetensors")
    with pytest.raises(VerifyError, match="differs from torch"):
        verify_bundle(tiny_bundle(), other)


def test_exporting_twice_gives_the_same_bytes(tmp_path):
    export_bundle(tiny_checkpoint(), tmp_path / "again", "fp32", capacity=768)
    first, second = Bundle.open(tiny_bundle()), Bundle.open(tmp_path / "again")
    assert first.manifest.files == second.manifest.files


def test_a_bundle_is_replaced_and_nothing_else_is_left(tmp_path):
    target = tmp_path / "bundle"
    shutil.copytree(tiny_bundle(), target)
    (target / "old").touch()
    export_bundle(tiny_checkpoint(), target, "fp32", capacity=512)
    assert Bundle.open(target).manifest.capacity == 512
    assert not (target / "old").exists()
    assert list(tmp_path.iterdir()) == [target]


def test_a_checkpoint_with_a_missing_tensor_leaves_nothing_behind(tmp_path):
    broken = shutil.copytree(tiny_checkpoint(), tmp_path / "broken")
    tensors = load_file(broken / "model.safetensors")
    del tensors["model.transformer.ln_f.weight"]
    save_file(tensors, broken / "model.safetensors")
    with pytest.raises(WeightsError, match="ln_f"):
        export_bundle(broken, tmp_path / "bundle", "fp32")
    assert list(tmp_path.iterdir()) == [broken]


def test_weights_beyond_fp16_are_refused_by_name(tmp_path):
    loud = shutil.copytree(tiny_checkpoint(), tmp_path / "loud")
    tensors = load_file(loud / "model.safetensors")
    tensors["model.transformer.blocks.0.ff_out.weight"][0, 0] = 1e5
    save_file(tensors, loud / "model.safetensors")
    with pytest.raises(ExportError, match=r"decoder\.0\.down.*fp32"):
        export_bundle(loud, tmp_path / "bundle", "fp16")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"precision": "fp8"}, "'fp8': wanted one of fp32, fp16"),
        ({"capacity": 100}, "takes up to"),
        ({"capacity": 100_000}, "knows 4096 positions"),
    ],
)
def test_what_cannot_be_exported_is_refused(arguments, words, tmp_path):
    with pytest.raises(ExportError, match=words):
        export_bundle(tiny_checkpoint(), tmp_path / "bundle", **arguments)


def test_a_directory_of_something_else_is_not_replaced(tmp_path):
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(ExportError, match="no bundle; choose another"):
        export_bundle(tiny_checkpoint(), tmp_path, "fp32")
    assert (tmp_path / "photo.jpg").exists()


def test_the_published_models_get_the_published_capacity():
    config = MolmoConfig.from_json(GOLDEN / "tiny-qwen2" / "config.json")
    assert largest_image(config.crops) == 1460
    assert needed_capacity(config) == 2560
    short = replace(config, decoder=replace(config.decoder, max_positions=2048))
    assert needed_capacity(short) == 2048


@pytest.mark.parametrize("crops", [CropConfig(max_crops=5), CropConfig(size=168, max_crops=2)])
def test_the_largest_image_is_the_largest_that_preprocessing_makes(crops):
    config = MolmoConfig.from_json(GOLDEN / "tiny-qwen2" / "config.json")
    lengths = []
    for rows, columns in np.ndindex(crops.max_crops + 1, crops.max_crops + 1):
        if 0 < rows * columns <= crops.max_crops:
            sides = [n * crops.window_px + crops.margin_px for n in (rows, columns)]
            image = prepare_image(np.zeros((*sides, 3), np.uint8), replace(config, crops=crops))
            lengths.append(len(image.tokens))
    assert max(lengths) == largest_image(crops)


def test_all_dialects_share_one_weight_file():
    sizes = {path.name: path.stat().st_size for path in tiny_bundle().iterdir()}
    checkpoint = (tiny_checkpoint() / "model.safetensors").stat().st_size
    assert sum(sizes.values()) < 2 * checkpoint
