"""The four published models: their sizes, their tensors, their config files."""

import json

import pytest
import torch

from molmo_model.config import MolmoConfig
from molmo_model.molmo import Molmo
from molmo_model.presets import MOLMO_7B_D, MOLMOE_1B, PRESETS
from molmo_model.weights import published_tensors

PARAMETERS = {
    "Molmo-7B-D-0924": 8_021_025_280,  # the published number; the others follow from the shapes
    "Molmo-7B-O-0924": 7_665_032_192,
    "Molmo-72B-0924": 73_308_285_952,
    "MolmoE-1B-0924": 7_221_875_712,
}


@pytest.fixture(params=PRESETS)
def preset(request):
    with torch.device("meta"):
        return request.param, Molmo(PRESETS[request.param])


def test_parameters_are_as_many_as_published(preset):
    name, model = preset
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[name]


def test_the_config_survives_writing(preset, tmp_path):
    _, model = preset
    model.config.to_json(tmp_path / "config.json")
    assert MolmoConfig.from_json(tmp_path / "config.json") == model.config


def test_7b_d_has_the_published_tensors(test_data):
    published = test_data / "published" / "molmo-7b-d"
    with torch.device("meta"):
        model = Molmo(MolmoConfig.from_json(published / "config.json"))
    index = json.loads((published / "model.safetensors.index.json").read_text())
    names = set(published_tensors(model))
    assert len(names) == 585
    assert names == set(index["weight_map"])


@pytest.mark.parametrize(
    ("folder", "preset"), [("molmo-7b-d", MOLMO_7B_D), ("molmoe-1b", MOLMOE_1B)]
)
def test_presets_equal_the_published_files(folder, preset, test_data):
    assert MolmoConfig.from_json(test_data / "published" / folder / "config.json") == preset


def test_experts_have_their_published_names():
    with torch.device("meta"):
        tensors = published_tensors(Molmo(MOLMOE_1B))
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    assert shapes["lm_head.weight"] == (50304, 2048)
    block = "model.transformer.blocks.15"
    assert shapes[f"{block}.attn.att_proj.weight"] == (6144, 2048)
    assert shapes[f"{block}.attn.q_norm.weight"] == (2048,)
    assert shapes[f"{block}.mlp.gate.weight"] == (64, 2048)
    assert shapes[f"{block}.mlp.experts.63.down_proj.weight"] == (2048, 1024)
