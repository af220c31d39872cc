"""Checkpoints in the published layout: what is written, read back, and refused."""

import json
import stat
from dataclasses import replace

import pytest
import torch
from recipes import GOLDEN
from safetensors.torch import load_file, save_file

from molmo_model.config import ConfigError, MolmoConfig
from molmo_model.weights import WeightsError, load_model, save_model

FOLDER = GOLDEN / "tiny-qwen2"


@pytest.fixture
def checkpoint(tmp_path):
    """A copy of the golden checkpoint that a test may damage."""
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((FOLDER / name).read_bytes())
    return tmp_path


@pytest.mark.parametrize("variant", ["tiny-qwen2", "tiny-olmo", "tiny-moe"])
def test_saving_undoes_loading(variant, tmp_path):
    model = load_model(GOLDEN / variant)
    save_model(model, tmp_path)
    stored, golden = (load_file(d / "model.safetensors") for d in (tmp_path, GOLDEN / variant))
    assert stored.keys() == golden.keys()
    assert all(torch.equal(stored[name], golden[name]) for name in golden)
    assert load_model(tmp_path).config == model.config
    assert not list(tmp_path.glob("*.part"))


def test_others_may_read_what_was_saved(tmp_path):
    save_model(load_model(FOLDER), tmp_path)
    mode = (tmp_path / "model.safetensors").stat().st_mode
    assert mode & stat.S_IRGRP and mode & stat.S_IROTH


def test_shards_load_like_one_file(checkpoint):
    tensors = load_file(checkpoint / "model.safetensors")
    (checkpoint / "model.safetensors").unlink()
    names, index = sorted(tensors), {}
    for number, part in enumerate((names[::2], names[1::2])):
        file = f"model-{number}.safetensors"
        save_file({name: tensors[name] for name in part}, checkpoint / file)
        index |= dict.fromkeys(part, file)
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    expected = load_model(FOLDER).state_dict()
    assert all(torch.equal(v, expected[k]) for k, v in load_model(checkpoint).state_dict().items())


def test_all_differences_are_named_at_once(checkpoint):
    path = checkpoint / "model.safetensors"
    tensors = load_file(path)
    del tensors["model.transformer.ln_f.weight"]
    tensors["model.extra"] = torch.zeros(2)
    tensors["model.transformer.ff_out.weight"] = torch.zeros(3, 4)
    save_file(tensors, path)
    with pytest.raises(WeightsError) as error:
        load_model(checkpoint)
    message = str(error.value)
    assert "missing model.transformer.ln_f.weight (64,)" in message
    assert "unexpected model.extra (2,)" in message
    assert "model.transformer.ff_out.weight is (3, 4), config.json wants (160, 64)" in message


def test_a_truncated_file_is_named(checkpoint):
    path = checkpoint / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(WeightsError, match="truncated"):
        load_model(checkpoint)


def test_a_missing_file_is_named(checkpoint):
    (checkpoint / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"no model\.safetensors"):
        load_model(checkpoint)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"clip_qkv": 8.0}, "clip_qkv"),
        ({"image_pooling_2d": "stack"}, "image_pooling_2d"),
        ({"hidden_size": None}, "hidden_size"),
        ({"num_attention_heads": 5}, "num_attention_heads"),
        ({"overlap_margins": [12, 12]}, "window"),
    ],
)
def test_a_config_that_is_not_ours_is_refused_by_its_key(change, named, checkpoint):
    path = checkpoint / "config.json"
    raw = json.loads(path.read_text()) | change
    path.write_text(json.dumps({k: v for k, v in raw.items() if v is not None}))
    with pytest.raises(ConfigError, match=named):
        MolmoConfig.from_json(path)


def test_another_geometry_survives_writing(tmp_path):
    config = MolmoConfig.from_json(FOLDER / "config.json")
    small = replace(config, crops=replace(config.crops, size=168, margins=(2, 2), max_crops=1))
    small.to_json(tmp_path / "config.json")
    assert MolmoConfig.from_json(tmp_path / "config.json") == small


@pytest.mark.parametrize("head", ["lm_head.weight", "model.lm_head.weight"])
def test_the_pickle_of_the_experts_loads_with_and_without_prefix(head, tmp_path):
    source = GOLDEN / "tiny-moe"
    tensors = load_file(source / "model.safetensors")
    tensors[head] = tensors.pop("lm_head.weight")
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_bytes((source / "config.json").read_bytes())
    expected = load_model(source).state_dict()
    assert all(torch.equal(v, expected[k]) for k, v in load_model(tmp_path).state_dict().items())


def test_a_pickle_with_code_in_it_is_refused(tmp_path):
    (tmp_path / "config.json").write_bytes((GOLDEN / "tiny-moe" / "config.json").read_bytes())
    torch.save({"lm_head.weight": print}, tmp_path / "pytorch_model.bin")
    with pytest.raises(WeightsError, match="tensors alone"):
        load_model(tmp_path)
