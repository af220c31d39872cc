"""INT8 and INT4 weights: what is rounded, how far, and that engines compute with just that."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from bundles import golden_bundle, golden_verdict
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from recipes import GOLDEN
from safetensors import safe_open
from safetensors.numpy import load_file

from molmo_engine.bundle import Bundle
from molmo_engine.export_checkpoint import read_checkpoint
from molmo_engine.export_rounding import (
    INT4,
    INT8,
    PRECISIONS,
    kept,
    round_to_nearest,
    round_trip,
)
from molmo_engine.ort_runtime import OrtRuntime
from molmo_model.weights import load_model

VARIANTS = ["tiny-qwen2", "tiny-olmo", "tiny-moe"]
# As share of the largest logit, of random weights through two layers: the step of a matrix is
# 1/127 of its largest weight in INT8, 1/7 in INT4.
COST = {"int8": 0.04, "int8-fp32": 0.04, "int4": 0.6, "int4-fp32": 0.6}
FLIP = 0.2  # where a router near a tie chooses another expert, one of three that are added up


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    groups=st.integers(1, 3),
    spread=st.sampled_from([1e-6, 1.0, 1e4]),
    rounding=st.sampled_from([INT8, INT4]),
    dtype=st.sampled_from([np.float16, np.float32]),
)
def test_rounding_moves_no_weight_by_more_than_half_a_step(seed, groups, spread, rounding, dtype):
    matrix = np.random.default_rng(seed).normal(0, spread, (groups * 16, 6)).astype(np.float32)
    integers, scales = round_to_nearest(matrix, rounding, 16, dtype)
    assert scales.shape == (groups, 6)
    assert np.abs(integers).max() <= rounding.limit
    # Scales are fp16 themselves: below its normal range they are coarse.
    slack = 1e-3 * rounding.limit * scales.max() + 2**-24 * rounding.limit
    moved = np.abs(round_trip(matrix, rounding, 16, dtype) - matrix)
    assert (moved <= 0.5 * scales.astype(np.float32).repeat(16, axis=0) + slack).all()


@pytest.mark.parametrize("rounding", [INT8, INT4])
def test_scales_are_positive_even_where_all_weights_are_zero(rounding):
    integers, scales = round_to_nearest(np.zeros((32, 4), np.float32), rounding, 16, np.float16)
    assert (scales > 0).all()
    assert not integers.any()


def test_groups_are_of_128_inputs_or_the_largest_part_of_128_that_divides_the_width():
    assert [INT4.group(n, is_stack=False) for n in (18_944, 3584, 192, 80)] == [128, 128, 64, 16]
    assert INT8.group(3584, is_stack=False) == 3584
    assert INT8.group(2048, is_stack=True) == 128


@pytest.mark.parametrize("precision", COST)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_rounded_bundle_computes_as_torch_with_the_same_rounded_weights(variant, precision):
    verdict = golden_verdict(precision, variant)
    assert verdict.logit_error < (2e-5 if precision.endswith("fp32") else 2e-2)
    cost = max(COST[precision], FLIP) if variant == "tiny-moe" else COST[precision]
    assert 1e-3 < verdict.rounding_error < cost


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_fp16_bundle_computes_as_torch_with_fp16_weights(variant):
    """Also where fp16 weights alone move a token to another expert, as in tiny-moe."""
    verdict = golden_verdict("fp16", variant)
    assert 0 < verdict.logit_error < 5e-3  # 11 bits through all layers
    if variant == "tiny-moe":
        assert 2e-2 < verdict.rounding_error < FLIP
        assert verdict.tokens_equal
    else:
        assert 0 < verdict.rounding_error < 5e-3


def test_what_a_precision_keeps_of_weights_is_what_its_file_holds():
    _, sources = read_checkpoint(GOLDEN / "tiny-moe")
    gate = "transformer.blocks.0.mlp.gate.weight"
    for precision in ("fp32", "fp16", "bf16"):
        with safe_open(golden_bundle(precision, "tiny-moe") / "weights.safetensors", "pt") as file:
            stored = file.get_tensor("decoder.0.gate.weight").float().numpy().T
        assert (kept(sources, PRECISIONS[precision])[gate].make() == stored).all()


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_only_the_decoders_matrices_are_rounded(precision):
    tensors = load_file(golden_bundle(precision, "tiny-moe") / "weights.safetensors")
    parts = ("qkv.weight", "out.weight", "experts.up", "experts.down")
    wanted = {f"decoder.{layer}.{part}" for layer in range(2) for part in parts}
    integers = {name for name, tensor in tensors.items() if tensor.dtype.kind in "iu"}
    assert integers == wanted
    assert {t.dtype.name for n, t in tensors.items() if n not in wanted} == {"float16"}
    assert {"decoder.head.weight", "decoder.0.gate.weight"} <= tensors.keys()


@pytest.mark.parametrize(("precision", "rounding"), [("int8", INT8), ("int4", INT4)])
def test_onnx_reads_the_integers_that_were_meant(precision, rounding):
    model = onnx.load(golden_bundle(precision, "tiny-olmo") / "decoder.onnx")
    tensors = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    source = load_model(GOLDEN / "tiny-olmo").transformer.blocks[1].mlp.ff_out.weight
    matrix = source.detach().T.numpy()
    group = rounding.group(len(matrix), is_stack=False)
    integers, scales = round_to_nearest(matrix, rounding, group, np.float16)
    assert (tensors["decoder.1.down.weight"].astype(np.int8) == integers).all()
    assert (
        tensors["decoder.1.down.weight.scales"] == scales.squeeze(0 if group > 80 else ())
    ).all()


def test_a_rounded_bundle_is_smaller():
    sizes = [
        json.loads(_header(golden_bundle(p) / "weights.safetensors"))["decoder.0.up.weight"]
        for p in ("fp16", "int8", "int4")
    ]
    spans = [end - begin for begin, end in (size["data_offsets"] for size in sizes)]
    assert spans[0] == 2 * spans[1] == 4 * spans[2]


def test_the_fast_product_stays_near_the_exact_one():
    """By default ONNX Runtime rounds the activations that meet rounded weights, too."""
    bundle = Bundle.open(golden_bundle("int4-fp32"))
    ids = np.arange(2, 40)
    exact, fast = (
        OrtRuntime(bundle, threads=1, exact=one).prefill(ids, None).copy() for one in (True, False)
    )
    assert 0 < np.abs(exact - fast).max() < 3e-2 * np.abs(exact).max()


def _header(path):
    with path.open("rb") as file:
        return file.read(int.from_bytes(file.read(8), "little"))
