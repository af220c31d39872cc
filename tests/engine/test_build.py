"""TensorRT parses and builds every graph; compiling needs no GPU."""

from __future__ import annotations

import shutil
from dataclasses import replace

import onnx
import pytest
from bundles import golden_bundle, tiny_bundle

from molmo_engine.build import BuildError, build_plan, profiles
from molmo_engine.bundle import Bundle
from molmo_engine.export_operators import TENSORRT_10_3

trt = pytest.importorskip("tensorrt_rtx", reason="needs TensorRT-RTX: pip install tensorrt_rtx")


GRAPHS = [
    ("tiny-qwen2", "vision", "fp16"),  # the same graph in all
    *(
        (variant, part, precision)
        for variant, part in (
            ("tiny-qwen2", "decoder"),
            ("tiny-olmo", "decoder"),
            ("tiny-moe", "decoder"),
            ("tiny-moe", "prefill"),
        )
        for precision in ("fp16", "int8", "int4")
    ),
]


@pytest.mark.parametrize("dialect", ["native", "compat"])
@pytest.mark.parametrize(("variant", "part", "precision"), GRAPHS)
def test_tensorrt_builds_the_graph(variant, part, precision, dialect):
    bundle = Bundle.open(golden_bundle(precision, variant))
    assert len(build_plan(bundle, bundle.graph(part, dialect), "SM120")) > 100_000


def test_decoding_has_a_profile_of_up_to_eight_tokens():
    bundle = Bundle.open(golden_bundle())
    prefill, decode = profiles(bundle, bundle.graph("decoder", "native"))
    assert prefill["tokens"] == (1, 1024, 2048)
    assert decode["tokens"] == (1, 1, 8)


def test_with_experts_prompts_and_answers_have_a_graph_each():
    bundle = Bundle.open(golden_bundle("fp16", "tiny-moe"))
    sizes = [profiles(bundle, bundle.graph(part, "native")) for part in ("prefill", "decoder")]
    assert [[one["tokens"] for one in some] for some in sizes] == [[(1, 1024, 2048)], [(1, 1, 8)]]


def test_native_16_bit_graphs_keep_attention_and_cache_as_one_operation_each():
    model = onnx.load(golden_bundle("fp16") / "decoder.onnx", load_external_data=False)
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("Attention") == 2
    assert kinds.count("TensorScatter") == 4
    assert {"RMSNormalization", "RotaryEmbedding"} <= set(kinds)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8", "int4"])
@pytest.mark.parametrize("variant", ["tiny-qwen2", "tiny-olmo", "tiny-moe"])
def test_compat_graphs_stay_within_what_tensorrt_10_3_reads(variant, precision):
    bundle = Bundle.open(golden_bundle(precision, variant))
    for graph in bundle.manifest.graphs:
        if graph.dialect == "compat":
            path = bundle.path(graph.file)
            model = onnx.load(path, load_external_data=False)
            nodes = model.graph.node
            assert {node.op_type for node in nodes} <= TENSORRT_10_3
            assert not any(a.name == "reduction" for node in nodes for a in node.attribute)
            assert [opset.version for opset in model.opset_import] == [graph.opset]
            blocks = any(a.name == "block_size" for node in nodes for a in node.attribute)
            assert graph.opset == 21 if blocks else graph.opset <= 20  # 10.3 documents 9 to 20
            onnx.checker.check_model(str(path), full_check=True)


def test_the_operators_of_the_native_dialect_are_too_new_for_tensorrt_10_3():
    new = {"Attention", "TensorScatter", "RMSNormalization", "RotaryEmbedding"}
    assert not new & TENSORRT_10_3


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
