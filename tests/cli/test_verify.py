"""`molmo verify`: right, wrong or incomplete, in words and in JSON."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from tiny import save_checkpoint

pytest.importorskip("torch", reason="needs torch to export")
pytest.importorskip("onnx", reason="needs onnx to export")
pytest.importorskip("onnxruntime", reason="needs onnxruntime to compute")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A checkpoint and a bundle of it."""
    from molmo_engine.export import export_bundle

    folder = tmp_path_factory.mktemp("exported")
    checkpoint = save_checkpoint(folder / "checkpoint")
    export_bundle(checkpoint, folder / "bundle", "fp32", capacity=768)
    return checkpoint, folder / "bundle"


@pytest.fixture
def copy(exported, tmp_path):
    return shutil.copytree(exported[1], tmp_path / "bundle")


@pytest.mark.parametrize("backend", [(), ("--backend", "onnxruntime")])
def test_a_good_bundle_is_right_without_its_checkpoint(molmo, exported, backend):
    status, out, _ = molmo("verify", exported[1], *backend)
    assert status == 0
    assert f"{exported[1]}: right. onnxruntime " in out
    assert "against recorded outputs" in out


def test_a_good_bundle_is_its_checkpoint(molmo, exported):
    checkpoint, bundle = exported
    status, out, _ = molmo("verify", bundle, "--checkpoint", checkpoint, "--json")
    assert status == 0
    found = json.loads(out)
    assert found["ok"] and found["tokens_equal"]
    assert found["against"] == "torch"
    assert 0 < found["logit_error"] < 2e-5


def test_another_checkpoint_is_told_apart(molmo, exported, tmp_path):
    other = save_checkpoint(tmp_path / "other", seed=1)
    status, _, err = molmo("verify", exported[1], "--checkpoint", other)
    assert status == 1
    assert "differs from torch" in err


def record(bundle, **arrays):
    """Replaces recorded arrays, with the hash that belongs to them."""
    from safetensors.numpy import load_file, save_file

    from molmo_engine.bundle import MANIFEST, sha256
    from molmo_engine.reference import OUTPUTS

    save_file({**load_file(bundle / OUTPUTS), **arrays}, bundle / OUTPUTS)
    manifest = json.loads((bundle / MANIFEST).read_text())
    manifest["files"][OUTPUTS] = sha256(bundle / OUTPUTS)
    (bundle / MANIFEST).write_text(json.dumps(manifest))


def test_an_engine_that_computes_something_else_is_one_sentence(molmo, copy):
    record(copy, logits=np.zeros((9, 16), np.float32))
    status, _, err = molmo("verify", copy)
    assert status == 1
    assert "does not compute what was recorded, from the decoder on" in err
    assert len(err.splitlines()) == 1


def test_for_scripts_a_problem_is_json_as_well(molmo, copy):
    (copy / "decoder.onnx").write_bytes(b"")
    status, out, _ = molmo("verify", copy, "--json")
    assert status == 1
    found = json.loads(out)
    assert not found["ok"]
    assert "decoder.onnx: is damaged" in found["problem"]


def test_a_backend_that_is_not_here_is_refused(molmo, exported):
    status, _, err = molmo("verify", exported[1], "--backend", "tensorrt_rtx")
    assert status == 1
    assert len(err.splitlines()) == 1


def test_a_backend_and_a_checkpoint_are_misuse(molmo, exported):
    checkpoint, bundle = exported
    arguments = ("--checkpoint", checkpoint, "--backend", "onnxruntime")
    assert molmo("verify", bundle, *arguments)[0] == 2
