"""TensorRT parses and builds every graph; compiling needs no GPU."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace

import onnx
import pytest
from bundles import golden_bundle, tiny_bundle

from molmo_engine.build import (
    BuildError,
    Order,
    build,
    build_bundle,
    compile_graph,
    order,
    profiles,
)
from molmo_engine.bundle import MANIFEST, Bundle, BundleError
from molmo_engine.export_operators import TENSORRT_10_3
from molmo_engine.plans import find_plan
from molmo_engine.trt_api import TensorRt
from molmo_engine.trt_device import DeviceError, find_gpu

trt = pytest.importorskip("tensorrt_rtx", reason="needs TensorRT-RTX: pip install tensorrt_rtx")

RTX = TensorRt("tensorrt_rtx")
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
WAYS = [("native", "embedded"), ("native", "external"), ("compat", "external")]


@pytest.fixture
def copy(tmp_path):
    """A bundle that may be changed."""
    return shutil.copytree(tiny_bundle(), tmp_path / "bundle")


def is_gpu_there() -> bool:
    try:
        return bool(find_gpu())
    except DeviceError:
        return False


@pytest.mark.parametrize(("dialect", "weights"), WAYS)
@pytest.mark.parametrize(("variant", "part", "precision"), GRAPHS)
def test_tensorrt_builds_the_graph(tmp_path, variant, part, precision, dialect, weights):
    bundle = Bundle.open(golden_bundle(precision, variant))
    made = Order(bundle, RTX, "SM120", weights)
    compile_graph(made, bundle.graph(part, dialect), tmp_path / "plan")
    assert (tmp_path / "plan").stat().st_size > 100_000


def test_plans_are_recorded_with_what_they_are_for(copy):
    found = build_bundle(copy, "tensorrt_rtx", "SM89")
    bundle = Bundle.open(copy)
    assert [one.plan for one in found] == list(bundle.manifest.plans)
    assert {plan.part for plan in bundle.manifest.plans} == {"vision", "decoder"}
    for one in found:
        assert find_plan(bundle, one.plan.part, f"tensorrt_rtx {trt.__version__}", "SM89")
        folder = f"plans/SM89-fp32-{trt.__version__}"
        assert re.fullmatch(rf"{folder}/{one.plan.part}-[0-9a-f]{{8}}\.plan", one.plan.file)
        assert bundle.path(one.plan.file).stat().st_size == one.size
        assert (one.plan.dialect, one.plan.weights) == ("native", "external")
        assert one.seconds > 0


def test_external_weights_are_not_even_read(copy):
    bundle = Bundle.open(copy)
    (copy / "weights.safetensors").unlink()
    graph = bundle.graph("decoder", "native")
    compile_graph(Order(bundle, RTX, "SM89", "external"), graph, copy / "plan")
    with pytest.raises(BuildError, match="cannot read it"):
        compile_graph(Order(bundle, RTX, "SM89", "embedded"), graph, copy / "plan")


def test_progress_rises_from_nothing_to_everything(tmp_path):
    bundle, told = Bundle.open(tiny_bundle()), []
    made = Order(bundle, RTX, "SM89", "external")
    graph = bundle.graph("decoder", "native")
    compile_graph(made, graph, tmp_path / "plan", lambda *news: told.append(news))
    shares = [share for _, share in told]
    assert {part for part, _ in told} == {"decoder"}
    assert len(told) > 10
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)


def test_an_interrupted_build_leaves_the_bundle_as_it_was(copy):
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}

    def interrupt(part, share):
        if (part, share > 0.5) == ("decoder", True):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_bundle(copy, "tensorrt_rtx", "SM89", report=interrupt)
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before


def test_the_order_says_what_memory_it_takes(copy):
    few, many = (order(copy, "tensorrt_rtx", "SM89", w) for w in ("external", "embedded"))
    stored = (copy / "weights.safetensors").stat().st_size
    caches = 2 * 2 * 768 * 32 * 4  # layers, keys and values, rows, width of the key heads, fp32
    assert few.running.weights == stored
    assert few.running.caches == caches
    assert re.match(r"0\.\d\d GB \(weights 0\.\d\d, caches 0\.00, act", str(few.running))
    assert many.building - few.building == 3 * stored


def test_what_does_not_fit_into_memory_is_not_begun(copy, monkeypatch):
    monkeypatch.setattr("molmo_engine.build.available_bytes", lambda: 100_000_000)
    manifest = (copy / MANIFEST).read_text()
    with pytest.raises(BuildError, match=r"takes about 0\.\d GB .* 0\.1 GB are free"):
        build(order(copy, "tensorrt_rtx", "SM89"))
    assert (copy / MANIFEST).read_text() == manifest


def test_a_damaged_bundle_is_not_built(copy):
    (copy / "decoder.onnx").write_bytes(b"")
    with pytest.raises(BundleError, match=r"decoder\.onnx: is damaged"):
        build_bundle(copy, "tensorrt_rtx", "SM89")


def test_decoding_has_a_profile_of_up_to_eight_tokens():
    bundle = Bundle.open(golden_bundle())
    prefill, decode = profiles(bundle, bundle.graph("decoder", "native"))
    assert prefill["tokens"] == (1, 1024, 2048)
    assert decode["tokens"] == (1, 1, 8)


def test_with_experts_prompts_and_answers_have_a_graph_each():
    bundle = Bundle.open(golden_bundle("fp32", "tiny-moe"))
    sizes = [profiles(bundle, bundle.graph(part, "native")) for part in ("prefill", "decoder")]
    assert [[one["tokens"] for one in some] for some in sizes] == [[(1, 1024, 2048)], [(1, 1, 8)]]


def test_native_16_bit_graphs_keep_attention_and_cache_as_one_operation_each():
    model = onnx.load(golden_bundle("fp16") / "decoder.onnx", load_external_data=False)
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("Attention") == 2
    assert kinds.count("TensorScatter") == 4
    assert {"RMSNormalization", "RotaryEmbedding"} <= set(kinds)


@pytest.mark.parametrize(
    ("variant", "precision"),
    [(variant, precision) for variant, part, precision in GRAPHS if part == "decoder"],
)
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


@pytest.mark.parametrize("weights", ["embedded", "external"])
def test_a_graph_that_tensorrt_cannot_read_says_why(copy, weights):
    bundle = Bundle.open(copy)
    path = bundle.path("decoder.onnx")
    model = onnx.load(path, load_external_data=False)
    next(node for node in model.graph.node if node.op_type == "Softmax").op_type = "Softmat"
    onnx.save(model, path)
    made = Order(bundle, RTX, "SM120", weights)
    with pytest.raises(BuildError, match=r"decoder\.onnx: TensorRT cannot read it: .*Softmat"):
        compile_graph(made, bundle.graph("decoder", "native"), copy / "plan")


def test_a_graph_that_tensorrt_cannot_build_says_why(tmp_path):
    bundle = Bundle.open(tiny_bundle())
    graph = bundle.graph("vision", "compat")
    wrong = replace(graph.inputs[0], shape=("crops", 5, 5))
    with pytest.raises(BuildError, match="cannot build it: .+"):
        compile_graph(
            Order(bundle, RTX, "SM120", "external"),
            replace(graph, inputs=(wrong, *graph.inputs[1:])),
            tmp_path / "plan",
        )


def test_an_unknown_architecture_names_the_known_ones():
    with pytest.raises(BuildError, match=r"SM87: tensorrt_rtx [\d.]+ builds for .*SM120"):
        order(tiny_bundle(), "tensorrt_rtx", "SM87")


@pytest.mark.skipif(is_gpu_there(), reason="there is a GPU")
def test_without_a_gpu_the_architecture_has_to_be_named():
    with pytest.raises(BuildError, match=r"no GPU to build for .* name another one, such as SM"):
        order(tiny_bundle(), "tensorrt_rtx")


def test_a_library_that_is_not_there_is_named():
    with pytest.raises(BuildError, match="tensorrt_lean is not there"):
        order(tiny_bundle(), "tensorrt_lean", "SM89")
