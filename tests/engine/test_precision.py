"""bf16 bundles, and the check that activations stay within fp16."""

from __future__ import annotations

import shutil

import onnx
import pytest
import torch
from bundles import golden_bundle, golden_verdict, tiny_checkpoint
from recipes import GOLDEN
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from molmo_engine.build import Order, compile_graph
from molmo_engine.bundle import Bundle, BundleError
from molmo_engine.export import export_bundle
from molmo_engine.export_range import RangeError, check_range, loudest, watch_range
from molmo_engine.ort_runtime import OrtRuntime
from molmo_engine.trt_api import TensorRt

VARIANTS = ["tiny-qwen2", "tiny-olmo", "tiny-moe"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_bf16_bundle_computes_as_torch_with_its_weights(variant):
    verdict = golden_verdict("bf16", variant)
    assert 0 < verdict.logit_error < 2e-2  # rotary tables of 8 bits
    assert 1e-3 < verdict.rounding_error < 0.1  # of computing in bf16 in torch


def test_weights_and_caches_of_a_bf16_bundle_are_bf16():
    bundle = Bundle.open(golden_bundle("bf16"))
    for name in ("weights.safetensors", "embedding.safetensors"):
        with safe_open(bundle.path(name), "pt") as file:
            assert {file.get_tensor(key).dtype for key in file.keys()} == {torch.bfloat16}  # noqa: SIM118
    decoder = bundle.graph("decoder", "native")
    kinds = {spec.name: spec.dtype for spec in (*decoder.inputs, *decoder.outputs)}
    assert kinds["keys.0"] == kinds["new_values.1"] == kinds["embeddings"] == "bfloat16"
    assert kinds["logits"] == "float32"
    nodes = onnx.load(bundle.path("decoder.onnx"), load_external_data=False).graph.node
    assert "Attention" in {node.op_type for node in nodes}


@pytest.mark.parametrize("dialect", ["native", "compat"])
def test_tensorrt_builds_bf16(dialect, tmp_path):
    pytest.importorskip("tensorrt_rtx", reason="needs TensorRT-RTX: pip install tensorrt_rtx")
    bundle = Bundle.open(golden_bundle("bf16"))
    wanted = Order(bundle, TensorRt("tensorrt_rtx"), "SM89", "external")
    for part in ("vision", "decoder"):
        compile_graph(wanted, bundle.graph(part, dialect), tmp_path / part)
        assert (tmp_path / part).stat().st_size > 50_000


def test_onnxruntime_refuses_bf16_and_says_what_to_do():
    with pytest.raises(BundleError, match="bf16 runs on TensorRT only.*--precision fp32"):
        OrtRuntime(Bundle.open(golden_bundle("bf16")))


def test_the_range_is_the_largest_that_goes_in_or_comes_out():
    model = torch.nn.Sequential(torch.nn.Linear(2, 1, bias=False), torch.nn.ReLU())
    with torch.no_grad():
        model[0].weight[:] = torch.tensor([[655.04, 0.0]])
    shares = watch_range(model)
    model(torch.tensor([[50.0, 1.0]]))
    model(torch.tensor([[-10.0, 6550.4]]))
    assert shares["0"] == pytest.approx(0.5)
    assert loudest({"a": 0.2, "b": 0.7}) == ("b", 0.7)


def test_every_module_of_a_model_is_watched():
    ranges = golden_verdict("fp16", "tiny-qwen2").ranges
    parts = ("attn.att_proj", "attn.attn_out", "mlp.ff_norm", "mlp.ff_proj", "mlp.ff_out")
    assert {f"transformer.blocks.1.{part}" for part in parts} <= ranges.keys()
    assert any(name.startswith("vision_backbone.image_vit") for name in ranges)
    assert all(0 <= share < 0.1 for share in ranges.values())


@pytest.mark.parametrize("precision", ["fp16", "int8", "int4"])
def test_a_layer_beyond_fp16_is_named(precision):
    shares = {"quiet": 0.1, "transformer.blocks.3.mlp.ff_out": 1.5}
    with pytest.raises(RangeError, match=r"blocks\.3\.mlp\.ff_out.*1\.5 times.*--precision bf16"):
        check_range(shares, precision)
    check_range(shares, "bf16")
    check_range(shares, "int4-fp32")


def test_a_model_too_loud_for_fp16_is_not_exported_in_it(tmp_path):
    loud = shutil.copytree(tiny_checkpoint(), tmp_path / "loud")
    tensors = load_file(loud / "model.safetensors")
    tensors["model.transformer.blocks.0.ff_out.weight"] *= 4e4
    save_file(tensors, loud / "model.safetensors")
    with pytest.raises(RangeError, match="times what fp16 holds"):
        export_bundle(loud, tmp_path / "bundle", "fp16", capacity=768)
    assert list(tmp_path.iterdir()) == [loud]
    export_bundle(loud, tmp_path / "bundle", "bf16", capacity=768)


def test_the_golden_checkpoints_have_no_tokenizer_and_still_export():
    assert not list(GOLDEN.glob("tiny-*/tokenizer*"))
    assert golden_verdict("fp32", "tiny-moe").tokens_equal
