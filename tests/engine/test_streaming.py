"""Exporting and comparing hold one tensor or one layer at a time, and change no number."""

from __future__ import annotations

import json
import shutil

import numpy as np
import onnx
import pytest
import torch
from bundles import golden_bundle
from recipes import GOLDEN
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from molmo_engine.bundle import Bundle
from molmo_engine.export_checkpoint import read_checkpoint, streamed_model
from molmo_engine.export_weights import Source, WeightFile, joined
from molmo_engine.ort_runtime import OrtRuntime, dialects_here
from molmo_engine.verify_pieces import cut
from molmo_engine.verify_runtime import PiecewiseRuntime
from molmo_model.image import prepare_image
from molmo_model.torch_runtime import TorchRuntime
from molmo_model.weights import load_model

VARIANTS = ["tiny-qwen2", "tiny-olmo", "tiny-moe"]
DIALECTS = dialects_here()


def read(runtime, config):
    """Features of a picture, and logits behind a prompt and two steps."""
    picture = np.random.default_rng(1).integers(0, 256, (300, 500, 3), np.uint8)
    image = prepare_image(picture, config)
    ids = np.concatenate([[1], image.tokens, [2, 3]])
    features = runtime.encode(image.crops, image.masks, image.index, len(ids))
    logits = [runtime.prefill(ids, features)[None].copy()]
    logits += [runtime.step(np.arange(5)).copy(), runtime.step(np.array([9])).copy()]
    return features, np.concatenate(logits)


def held(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_streamed_model_computes_what_the_whole_one_does(variant):
    config, sources = read_checkpoint(GOLDEN / variant)
    streamed = read(TorchRuntime(streamed_model(config, sources)), config)
    whole = read(TorchRuntime(load_model(GOLDEN / variant)), config)
    assert all((one == other).all() for one, other in zip(streamed, whole, strict=True))


def test_a_streamed_model_holds_the_weights_of_one_module_at_a_time():
    config, sources = read_checkpoint(GOLDEN / "tiny-moe")
    sizes = {name: int(np.prod(source.shape)) for name, source in sources.items()}
    most = []

    def watched(name, source):
        def make():
            most.append(held(model) + sizes[name])
            return source.make()

        return Source(source.shape, make)

    model = streamed_model(config, {name: watched(name, s) for name, s in sources.items()})
    assert held(model) == 0
    read(TorchRuntime(model), config)
    # The picture half keeps its few position and padding rows around its layers.
    around = sum(size for name, size in sizes.items() if name.endswith(("embedding", "embed")))
    assert 0 < max(most) <= max(sizes.values()) + around
    assert held(model) == 0


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_pieces_of_the_graphs_compute_what_the_graphs_do(variant, dialect):
    bundle = Bundle.open(golden_bundle(variant=variant))
    pieces = read(PiecewiseRuntime(bundle, dialect), bundle.config)
    whole = read(OrtRuntime(bundle, threads=1, dialect=dialect, exact=True), bundle.config)
    for one, other in zip(pieces, whole, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)  # other fusions, other sums


def test_a_graph_is_cut_behind_every_layer_and_no_weight_is_in_two_pieces():
    bundle = Bundle.open(golden_bundle())
    pieces = [onnx.load_from_string(piece.model) for piece in cut(bundle.path("decoder.onnx"))]
    assert len(pieces) == bundle.config.decoder.layers + 1
    weights = [
        {t.name for t in piece.graph.initializer if ".weight" in t.name} for piece in pieces
    ]
    whole = onnx.load(bundle.path("decoder.onnx"), load_external_data=False).graph.initializer
    assert set().union(*weights) == {t.name for t in whole if ".weight" in t.name}
    assert sum(map(len, weights)) == len(set().union(*weights))


def test_a_graph_that_names_no_layers_is_one_piece(tmp_path):
    model = onnx.load(golden_bundle() / "decoder.onnx", load_external_data=False)
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [name.replace("hidden.", "flow.") for name in names]
    onnx.save(model, tmp_path / "decoder.onnx")
    (piece,) = cut(tmp_path / "decoder.onnx")
    assert len(onnx.load_from_string(piece.model).graph.node) == len(model.graph.node)


def test_shards_and_narrow_types_are_read_as_they_are_stored(tmp_path):
    whole = load_file(GOLDEN / "tiny-qwen2" / "model.safetensors")
    shutil.copy(GOLDEN / "tiny-qwen2" / "config.json", tmp_path)
    halves = list(whole)[::2], list(whole)[1::2]
    for number, names in enumerate(halves):
        tensors = {name: whole[name].bfloat16() for name in names}
        save_file(tensors, tmp_path / f"{number}.safetensors")
    places = {
        name: f"{number}.safetensors" for number, names in enumerate(halves) for name in names
    }
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    _, sources = read_checkpoint(tmp_path)
    wanted = load_model(tmp_path, torch.float32)
    assert {name: tuple(p.shape) for name, p in wanted.named_parameters()} == {
        name: source.shape for name, source in sources.items()
    }
    for name, parameter in wanted.named_parameters():
        assert (sources[name].make() == parameter.detach().numpy()).all()


def test_a_large_tensor_is_written_in_parts_and_reads_as_one(tmp_path, monkeypatch):
    monkeypatch.setattr("molmo_engine.export_weights.AT_ONCE", 64)
    rng = np.random.default_rng(0)
    first, second = (rng.normal(size=(n, 8)).astype(np.float32) for n in (5, 7))
    file = WeightFile(np.float32)
    file.add("both", joined([Source.of(first), Source.of(second)]))
    file.add("turned", Source.of(first).T)
    file.write(tmp_path / "weights.safetensors")
    with safe_open(tmp_path / "weights.safetensors", "np") as stored:
        assert (stored.get_tensor("both") == np.concatenate([first, second])).all()
        assert (stored.get_tensor("turned") == first.T).all()
