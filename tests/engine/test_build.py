"""TensorRT parses and builds every graph; compiling needs no GPU."""

from __future__ import annotations

import shutil
from dataclasses import replace

import onnx
import pytest
from bundles import golden_bundle, tiny_bundle

from molmo_engine.build import BuildError, build_plan, profiles
from molmo_engine.bundle import Bundle

trt = pytest.importorskip("tensorrt_rtx", reason="needs TensorRT-RTX: pip install tensorrt_rtx")


@pytest.mark.parametrize("precision", ["fp16"])
@pytest.mark.parametrize("dialect", ["native", "compat"])
@pytest.mark.parametrize("part", ["vision", "decoder"])
def test_tensorrt_builds_the_graph(part, dialect, precision):
    bundle = Bundle.open(golden_bundle(precision))
    assert len(build_plan(bundle, bundle.graph(part, dialect), "SM120")) > 100_000


def test_decoding_has_a_profile_of_up_to_eight_tokens():
    bundle = Bundle.open(golden_bundle())
    prefill, decode = profiles(bundle, bundle.graph("decoder", "native"))
    assert prefill["tokens"] == (1, 1024, 2048)
    assert decode["tokens"] == (1, 1, 8)


def test_native_16_bit_graphs_keep_attention_and_cache_as_one_operation_each():
    model = onnx.load(golden_bundle("fp16") / "decoder.onnx", load_external_data=False)
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("Attention") == 2
    assert kinds.count("TensorScatter") == 4
    assert {"RMSNormalization", "RotaryEmbedding"} <= set(kinds)


def test_compat_graphs_have_no_operation_that_is_younger_than_opset_18():
    young = {"Attention", "TensorScatter", "RMSNormalization", "RotaryEmbedding"}
    for part in ("vision", "decoder"):
        path = golden_bundle() / f"{part}.compat.onnx"
        model = onnx.load(path, load_external_data=False)
        assert model.opset_import[0].version == 18
        assert not young & {node.op_type for node in model.graph.node}
        onnx.checker.check_model(str(path), full_check=True)


def test_a_graph_that_tensorrt_cannot_read_says_why(tmp_path):
    shutil.copytree(tiny_bundle(), tmp_path / "bundle")
    bundle = Bundle.open(tmp_path / "bundle")
    path = bundle.path("decoder.onnx")
    model = onnx.load(path, load_external_data=False)
    next(node for node in model.graph.node if node.op_type == "Softmax").op_type = "Softmat"
    onnx.save(model, path)
    with pytest.raises(BuildError, match=r"decoder\.onnx: TensorRT cannot read it: .*Softmat"):
        build_plan(bundle, bundle.graph("decoder", "native"), "SM120")


def test_a_graph_that_tensorrt_cannot_build_says_why():
    bundle = Bundle.open(tiny_bundle())
    graph = bundle.graph("vision", "compat")
    wrong = replace(graph.inputs[0], shape=("crops", 5, 5))
    with pytest.raises(BuildError, match="cannot build it: .+"):
        build_plan(bundle, replace(graph, inputs=(wrong, *graph.inputs[1:])), "SM120")


def test_an_unknown_architecture_names_the_known_ones():
    bundle = Bundle.open(tiny_bundle())
    with pytest.raises(BuildError, match=r"SM87: TensorRT-RTX knows .*SM120"):
        build_plan(bundle, bundle.graph("decoder", "native"), "SM87")
