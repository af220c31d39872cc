"""Weights become inputs, and nothing else of a graph changes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from bundles import golden_bundle
from onnx import TensorProto, helper, numpy_helper

from molmo_engine.build_inputs import weights_as_inputs


def typed(value: onnx.ValueInfoProto) -> tuple:
    kind = value.type.tensor_type
    return value.name, kind.elem_type, [d.dim_value or d.dim_param for d in kind.shape.dim]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8", "int4"])
def test_stored_weights_are_inputs_with_their_types_and_shapes(precision):
    folder = golden_bundle(precision)
    for path in sorted(folder.glob("*.onnx")):
        old = onnx.load(path, load_external_data=False)
        new = onnx.load_from_string(weights_as_inputs(path.read_bytes()))
        stored = [t for t in old.graph.initializer if t.data_location == TensorProto.EXTERNAL]
        assert len(stored) > 10
        kept = [typed(value) for value in old.graph.input]
        moved = [(tensor.name, tensor.data_type, list(tensor.dims)) for tensor in stored]
        assert sorted(map(typed, new.graph.input), key=str) == sorted(kept + moved, key=str)
        inside = [t for t in old.graph.initializer if t.data_location != TensorProto.EXTERNAL]
        assert list(new.graph.initializer) == inside
        assert new.graph.node == old.graph.node
        assert new.graph.output == old.graph.output
        assert new.opset_import == old.opset_import


def test_numbers_of_many_bytes_survive():
    tensor = TensorProto(name="w", dims=[152_064, 3584], data_type=TensorProto.FLOAT16)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="a file")
    small = numpy_helper.from_array(np.arange(300), "small")
    graph = helper.make_graph([], "g", [], [], [tensor, small])
    model = helper.make_model(graph)
    found = onnx.load_from_string(weights_as_inputs(model.SerializeToString()))
    assert [typed(value) for value in found.graph.input] == [("w", 10, [152_064, 3584])]
    assert list(found.graph.initializer) == [small]
