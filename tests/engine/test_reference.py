"""A bundle knows what it should answer: right engines pass, engines that err are found."""

from __future__ import annotations

import json
import shutil
import struct

import numpy as np
import pytest
from bundles import golden_bundle, tiny_bundle, tiny_checkpoint

from molmo_engine.bundle import MANIFEST, WEIGHTS, Bundle, BundleError, sha256
from molmo_engine.ort_runtime import OrtRuntime
from molmo_engine.reference import OUTPUTS, PICTURE, DeviationError, check_reference
from molmo_model.torch_runtime import TorchRuntime


@pytest.fixture
def copy(tmp_path):
    return shutil.copytree(tiny_bundle(), tmp_path / "bundle")


def check(directory, runtime=OrtRuntime, **settings):
    bundle = Bundle.open(directory)
    return check_reference(bundle, runtime(bundle, threads=1, **settings))


def change_weights(directory, name):
    """Doubles a matrix, and makes the hash that of the new file."""
    path = directory / WEIGHTS
    data = bytearray(path.read_bytes())
    (length,) = struct.unpack("<Q", data[:8])
    place = json.loads(data[8 : 8 + length])[name]["data_offsets"]
    begin, end = (8 + length + offset for offset in place)
    data[begin:end] = (2 * np.frombuffer(data[begin:end], np.float32)).tobytes()
    path.write_bytes(data)
    manifest = json.loads((directory / MANIFEST).read_text())
    manifest["files"][WEIGHTS] = sha256(path)
    (directory / MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize("dialect", ["native", "compat"])
def test_every_dialect_computes_what_torch_recorded(dialect):
    found = check(tiny_bundle(), dialect=dialect)
    assert found.engine.startswith("onnxruntime")
    assert found.tokens_equal
    assert max(found.feature_error, found.logit_error) < 2e-5


@pytest.mark.parametrize("variant", ["tiny-olmo", "tiny-moe"])
def test_the_whole_family_is_checked_without_a_tokenizer(variant):
    assert check(golden_bundle("fp32", variant)).logit_error < 2e-5


@pytest.mark.parametrize("precision", ["fp16", "int8", "int4", "int4-fp32"])
def test_what_would_run_is_right_within_its_precision(precision):
    found = check(golden_bundle(precision))
    assert 0 < found.logit_error <= found.tolerance


def test_torch_is_right_as_well():
    bundle = Bundle.open(tiny_bundle())
    found = check_reference(bundle, TorchRuntime.from_checkpoint(tiny_checkpoint()))
    assert found.logit_error < 2e-5


@pytest.mark.parametrize(
    ("name", "named"), [("vit.0.qkv.weight", "picture"), ("decoder.0.up.weight", "decoder")]
)
def test_other_weights_are_found_with_the_part_that_has_them(copy, name, named):
    change_weights(copy, name)
    with pytest.raises(DeviationError, match=f"from the {named} on") as found:
        check(copy)
    assert f"molmo build {copy}" in str(found.value)


class Forgetful(OrtRuntime):
    """Rewinds nothing."""

    def rewind(self, length):
        pass


class Overflowing(OrtRuntime):
    """Has no numbers behind a single token."""

    def step(self, ids):
        return super().step(ids) * (np.nan if len(ids) == 1 else 1)


class Blind(OrtRuntime):
    """Has no numbers of a picture."""

    def encode(self, *inputs):
        return super().encode(*inputs) * np.nan


@pytest.mark.parametrize(
    ("runtime", "named"), [(Forgetful, "decoder"), (Overflowing, "decoder"), (Blind, "picture")]
)
def test_an_engine_that_errs_in_one_place_is_found(runtime, named):
    with pytest.raises(DeviationError, match=f"from the {named} on"):
        check(tiny_bundle(), runtime)


@pytest.mark.parametrize("name", [PICTURE, OUTPUTS])
def test_a_bundle_of_an_older_version_says_how_to_get_a_record(copy, name):
    manifest = json.loads((copy / MANIFEST).read_text())
    del manifest["files"][name]
    (copy / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="has no recorded outputs.* --checkpoint CHECKPOINT"):
        check(copy)


def test_a_record_is_small():
    assert sum((tiny_bundle() / name).stat().st_size for name in (PICTURE, OUTPUTS)) < 50_000
