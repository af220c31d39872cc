"""`molmo ask` on real models: what it prints, what it writes, what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from tiny import save_checkpoint

from molmo_cli.models import ModelError, open_model, shipped_bundle
from molmo_cli.pictures import save_annotated
from molmo_engine.records import PointFound
from molmo_model.pictures import PictureError, open_picture
from molmo_model.points import Point

pytest.importorskip("torch", reason="needs torch for a checkpoint")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture
def picture(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def test_json_holds_the_whole_answer(molmo, picture, checkpoint):
    status, out, _ = molmo("ask", picture, "Where?", "--checkpoint", checkpoint, "--json")
    assert status == 0
    answer = json.loads(out)
    with_same_model = open_model(checkpoint).ask(open_picture(picture), "Where?")
    assert answer["text"] == with_same_model.text
    assert answer["usage"]["answer_tokens"] == with_same_model.usage.answer_tokens
    assert answer["model"] == checkpoint.name
    assert answer["engine"] == "torch"


def test_the_streamed_text_is_that_of_the_answer(molmo, picture, checkpoint):
    _, out, _ = molmo("ask", picture, "Where?", "--checkpoint", checkpoint, "--json")
    status, streamed, _ = molmo("ask", picture, "Where?", "--checkpoint", checkpoint)
    assert status == 0
    assert streamed.startswith(json.loads(out)["text"].lstrip())
    assert " tokens in " in streamed.splitlines()[-1]


def test_the_picture_is_written_with_its_points(molmo, picture, checkpoint, tmp_path):
    out = tmp_path / "out.png"
    status, _, _ = molmo("ask", picture, "?", "--checkpoint", checkpoint, "--annotate", out)
    assert status == 0
    assert Image.open(out).size == (64, 48)
    found = PointFound(Point(50, 50, "mug"), (31.5, 23.5), 0.9)
    save_annotated(out, open_picture(picture), (found,))
    assert (np.array(Image.open(out)) != open_picture(picture)).any()


@pytest.mark.parametrize(
    ("prompt", "sentence"), [(" ", "the prompt is empty"), ("x" * 5000, "larger capacity")]
)
def test_what_cannot_be_asked_is_refused(molmo, picture, checkpoint, prompt, sentence):
    status, _, err = molmo("ask", picture, prompt, "--checkpoint", checkpoint)
    assert status == 1
    assert sentence in err
    assert len(err.splitlines()) == 1


def test_a_missing_bundle_is_refused(molmo, picture, tmp_path):
    status, _, err = molmo("ask", picture, "Where?", "--bundle", tmp_path / "none")
    assert status == 1
    assert f"{tmp_path / 'none'}: " in err
    assert len(err.splitlines()) == 1


def test_a_checkpoint_without_weights_is_refused(molmo, picture, checkpoint, tmp_path):
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_text((checkpoint / name).read_text())
    status, _, err = molmo("ask", picture, "Where?", "--checkpoint", tmp_path)
    assert status == 1
    assert str(tmp_path) in err


def test_a_cut_picture_is_refused_by_name(molmo, picture, checkpoint):
    picture.write_bytes(picture.read_bytes()[:500])
    status, _, err = molmo("ask", picture, "Where?", "--checkpoint", checkpoint)
    assert status == 1
    assert "picture.png: cannot be decoded" in err
    assert len(err.splitlines()) == 1


def test_a_picture_of_no_known_kind_is_not_written(tmp_path):
    with pytest.raises(PictureError, match="cannot be written"):
        save_annotated(tmp_path / "out.xyz", np.zeros((4, 4, 3), np.uint8), ())


def test_the_shipped_bundle_is_found_below_an_installed_prefix(monkeypatch, tmp_path):
    bundle = tmp_path / "share" / "molmo_ros" / "assets" / "molmo-tiny" / "bundle"
    bundle.mkdir(parents=True)
    (bundle / "manifest.json").write_text("{}")
    monkeypatch.setattr("molmo_cli.models.__file__", str(tmp_path / "lib" / "cli" / "models.py"))
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"/nowhere:{tmp_path}")
    assert shipped_bundle() == bundle
    monkeypatch.setenv("AMENT_PREFIX_PATH", "")
    with pytest.raises(ModelError, match="--bundle DIR"):
        shipped_bundle()
