"""`molmo export`: its bundle answers as its checkpoint does."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from tiny import save_checkpoint

pytest.importorskip("torch", reason="needs torch to export")
pytest.importorskip("onnx", reason="needs onnx to export")
pytest.importorskip("onnxruntime", reason="needs onnxruntime to compare")


def test_an_exported_bundle_answers_as_its_checkpoint(molmo, tmp_path):
    checkpoint, bundle = save_checkpoint(tmp_path / "checkpoint"), tmp_path / "bundle"
    status, out, _ = molmo("export", checkpoint, bundle, "--precision", "fp32")
    assert status == 0
    assert f"--bundle {bundle}" in out
    pixels = np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    answers = [
        json.loads(molmo("ask", tmp_path / "picture.png", "Where?", *model, "--json")[1])
        for model in (("--bundle", bundle), ("--checkpoint", checkpoint))
    ]
    assert answers[0]["text"] == answers[1]["text"]
    assert answers[0]["engine"] != answers[1]["engine"]


def test_a_damaged_bundle_is_refused(molmo, tmp_path):
    save_checkpoint(tmp_path / "checkpoint")
    molmo("export", tmp_path / "checkpoint", tmp_path / "bundle")
    weights = tmp_path / "bundle" / "weights.safetensors"
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    weights.write_bytes(damaged)
    Image.new("RGB", (8, 8)).save(tmp_path / "picture.png")
    arguments = (tmp_path / "picture.png", "Where?", "--bundle", tmp_path / "bundle")
    status, _, err = molmo("ask", *arguments)
    assert status == 1
    assert "weights.safetensors" in err
    assert len(err.splitlines()) == 1


def test_a_directory_with_other_files_is_not_overwritten(molmo, tmp_path):
    save_checkpoint(tmp_path)
    status, _, err = molmo("export", tmp_path, tmp_path)
    assert status == 1
    assert "no bundle" in err
    assert (tmp_path / "model.safetensors").exists()
