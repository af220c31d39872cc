"""Calibrated scales leave the model what it is and make rounding hurt less."""

from __future__ import annotations

import json

import numpy as np
import pytest
from bundles import tiny_checkpoint
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from recipes import GOLDEN

from molmo_engine.bundle import Bundle
from molmo_engine.export import export_bundle
from molmo_engine.export_calibration import POINTING, look, read_examples
from molmo_engine.export_checkpoint import read_checkpoint, streamed_model
from molmo_engine.export_rounding import PRECISIONS, round_trip
from molmo_engine.export_scaling import (
    Fold,
    Inputs,
    candidates,
    folds,
    read_scaling,
    scaled,
    search,
)
from molmo_engine.export_weights import ExportError
from molmo_model.torch_runtime import TorchRuntime

VARIANTS = ["tiny-qwen2", "tiny-olmo", "tiny-moe"]
INT4 = PRECISIONS["int4-fp32"]


def count(fold, sources):
    """How many scales a fold has."""
    return sources[fold.readers[0]].shape[1] // fold.groups[1]


@pytest.fixture
def pictures(tmp_path):
    """A calibration directory of two pictures, one with an answer."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(3)
    lines = []
    for name, answer in (("a.png", ""), ("b.png", '<point x="1.0" y="2.0" alt="c">c</point>')):
        Image.fromarray(rng.integers(0, 256, (60, 80, 3), np.uint8)).save(folder / name)
        lines.append({"file_name": name, "prompt": "Point to the cup.", "answer": answer})
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder


@pytest.mark.parametrize("variant", VARIANTS)
def test_scaling_changes_the_weights_and_not_what_the_model_computes(variant):
    config, sources = read_checkpoint(GOLDEN / variant)
    rng = np.random.default_rng(0)
    scaling = {
        fold.name: np.exp(rng.normal(0, 0.7, count(fold, sources))).astype(np.float32)
        for fold in folds(config.decoder)
    }
    other = scaled(sources, config.decoder, scaling)
    ids = np.arange(40)
    wanted, found = (
        TorchRuntime(streamed_model(config, one)).prefill(ids, None) for one in (sources, other)
    )
    np.testing.assert_allclose(found, wanted, atol=2e-5 * np.abs(wanted).max())
    touched = {name for fold in folds(config.decoder) for name in fold.readers + fold.makers}
    assert all((other[n].make() != sources[n].make()).any() for n in touched)


def test_every_rounded_matrix_behind_a_norm_or_a_matrix_is_scaled():
    config, _ = read_checkpoint(GOLDEN / "tiny-qwen2")
    parts = {fold.name.split(".", 3)[3] for fold in folds(config.decoder)}
    assert parts == {"attn.att_proj", "attn.attn_out", "mlp.ff_proj", "mlp.ff_out"}
    config, _ = read_checkpoint(GOLDEN / "tiny-olmo")  # norms behind: nothing makes these inputs
    parts = {fold.name.split(".", 3)[3] for fold in folds(config.decoder)}
    assert parts == {"attn.attn_out", "mlp.ff_out"}


@given(
    mean=st.lists(
        st.one_of(st.just(0.0), st.floats(2.0**-100, 1e4, width=32)), min_size=4, max_size=24
    ).filter(lambda values: len(values) % 4 == 0)
)
def test_scales_are_above_zero_and_finite_whatever_the_channels_carry(mean):
    fold = Fold(("reader.weight",), ("maker.weight",), groups=(2, 2))
    for scales in candidates(fold, np.array(mean, np.float32)):
        assert len(scales) == len(mean) // 2
        assert (scales > 0).all() and np.isfinite(scales).all() and np.isfinite(1 / scales).all()
        assert fold.spread(scales).shape == (len(mean),)


def test_the_chosen_scales_reduce_the_error_where_a_channel_is_loud():
    config, sources = read_checkpoint(GOLDEN / "tiny-qwen2")
    fold = next(f for f in folds(config.decoder) if f.name.endswith("0.attn.att_proj"))
    rng = np.random.default_rng(0)
    width = sources[fold.readers[0]].shape[1]
    rows = rng.normal(size=(64, width)).astype(np.float32)
    rows[:, ::16] *= 30
    inputs = {fold.name: Inputs(rows, np.abs(rows).mean(0))}
    (scales,) = search(sources, config.decoder, inputs, INT4).values()
    matrix = sources[fold.readers[0]].T.make()
    group = INT4.rounding.group(len(matrix), is_stack=False)

    def error(scales):
        kept = round_trip(matrix * scales[:, None], INT4.rounding, group, np.float32)
        return np.square(rows @ (kept / scales[:, None] - matrix)).sum()

    assert error(scales) < 0.5 * error(np.ones(width, np.float32))


def test_inputs_that_are_alike_need_no_scales():
    fold = Fold(("reader.weight",), ("maker.weight",))
    assert all((scales == 1).all() for scales in candidates(fold, np.full(8, 3, np.float32)))
    assert all((scales == 1).all() for scales in candidates(fold, np.zeros(8, np.float32)))


def test_a_calibrated_bundle_is_that_of_its_checkpoint(pictures, tmp_path):
    verdict = export_bundle(
        tiny_checkpoint(), tmp_path / "bundle", "int4", capacity=768, calibrate=pictures
    )
    assert verdict.logit_error < 2e-2
    bundle = Bundle.open(tmp_path / "bundle")
    scaling = read_scaling(bundle.directory)
    assert scaling.keys() == {fold.name for fold in folds(bundle.config.decoder)}
    assert any((scales != 1).any() for scales in scaling.values())
    assert "scaling.safetensors" in bundle.manifest.files


def test_calibration_reads_pictures_questions_and_answers(pictures):
    config, sources = read_checkpoint(tiny_checkpoint())
    calibration = look(tiny_checkpoint(), config, sources, read_examples(pictures))
    for fold in folds(config.decoder):
        inputs = calibration.inputs[fold.name]
        width = sources[fold.readers[0]].shape[1]
        assert inputs.mean.shape == (width,) and (inputs.mean > 0).all()
        assert inputs.rows.shape[1] == width and 64 < len(inputs.rows) <= 2 * 256
    assert calibration.ranges["transformer.ln_f"] > 0


def test_pictures_alone_are_asked_to_point(pictures):
    (pictures / "metadata.jsonl").unlink()
    examples = read_examples(pictures)
    assert [example.picture.name for example in examples] == ["a.png", "b.png"]
    assert {example.prompt for example in examples} == {POINTING}


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "no pictures to calibrate with"), ('{"file_name": "a.png"}', "line 1: wanted")],
)
def test_a_directory_that_cannot_calibrate_says_what_it_needs(text, words, pictures):
    (pictures / "metadata.jsonl").write_text(text)
    with pytest.raises(ExportError, match=words):
        read_examples(pictures)


def test_calibrating_what_is_not_rounded_is_refused(pictures, tmp_path):
    with pytest.raises(ExportError, match="'fp16' rounds nothing"):
        export_bundle(tiny_checkpoint(), tmp_path / "bundle", "fp16", calibrate=pictures)


def test_a_silent_expert_is_left_as_it_is():
    config, sources = read_checkpoint(GOLDEN / "tiny-moe")
    fold = next(f for f in folds(config.decoder) if "experts.0.down" in f.name)
    width = sources[fold.readers[0]].shape[1]
    silent = {fold.name: Inputs(np.zeros((3, width), np.float32), np.zeros(width, np.float32))}
    (scales,) = search(sources, config.decoder, silent, INT4).values()
    assert (scales == 1).all()
