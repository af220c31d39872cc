"""A small ONNX graph builder.

Knows nothing of Molmo: names, nodes and tensors in, a model out. Weights lie in one safetensors
file (export_weights.py) whose tensors the graphs name by offset as external data, so a second
dialect costs no second copy.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from molmo_engine.bundle import TensorSpec
from molmo_engine.export_rounding import Rounding, rounded
from molmo_engine.export_weights import Source, Spans, WeightFile

Shape = Sequence[int | str]  # a word is a dynamic dimension
HALF_SCALES_SINCE, BLOCKS_SINCE = 19, 21  # opsets of DequantizeLinear: fp16, a scale per block
HIDDEN = "hidden."  # with a number: what flows from layer to layer, under names that stay
_INTEGERS = {8: (TensorProto.INT8, np.int8), 4: (TensorProto.INT4, np.uint8)}  # bits -> types


class Graph:
    """One ONNX graph in the making. Methods take and return names of tensors.

    Asking twice for the same operation gives the same tensor: what all layers share is
    computed once.

    rounding: of its matrices; None keeps them as they are
    """

    opset: int
    domains: ClassVar[tuple[str, ...]] = ()  # of operators beside ONNX's own

    def __init__(self, name: str, weights: WeightFile, rounding: Rounding | None = None) -> None:
        self.name = name
        self.weights = weights
        self.dtype = weights.dtype
        self.rounding = rounding
        self._nodes: list[onnx.NodeProto] = []
        self._made: dict[str, list[str]] = {}
        self._tensors: dict[str, onnx.TensorProto] = {}
        self.inputs: list[TensorSpec] = []
        self.outputs: list[TensorSpec] = []

    def input(self, name: str, shape: Shape, dtype: npt.DTypeLike) -> str:
        self.inputs.append(_spec(name, shape, dtype))
        return name

    def output(self, name: str, tensor: str, shape: Shape, dtype: npt.DTypeLike) -> None:
        """Makes `tensor` an output called `name`; call it last, it renames the tensor."""
        self.outputs.append(_spec(name, shape, dtype))
        self.named(tensor, name)

    def named(self, tensor: str, name: str) -> str:
        """Gives a tensor a name to find it by."""
        made = [names for node in self._nodes for names in (node.input, node.output)]
        for names in (*made, *self._made.values()):
            names[:] = [name if old == tensor else old for old in names]
        return name

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """An operation with one output."""
        return self.ops(kind, 1, *inputs, **attributes)[0]

    def ops(self, kind: str, outputs: int, *inputs: str, **attributes: Any) -> list[str]:
        """An operation with several outputs."""
        key = f"{kind} {inputs} {sorted(attributes.items())}"
        if key not in self._made:
            name = f"{kind}_{len(self._nodes)}"
            names = [f"{name}_{i}" for i in range(outputs)]
            self._nodes.append(helper.make_node(kind, inputs, names, name, **attributes))
            self._made[key] = names
        return self._made[key]

    def weight(self, name: str, source: Source) -> str:
        """A tensor of the shared weight file, in the precision of the bundle."""
        self.weights.add(name, source)
        return self._external(name, source.shape, helper.np_dtype_to_tensor_dtype(self.dtype))

    def matrix(self, name: str, source: Source) -> str:
        """A weight (..., in, out), or a stack of them, rounded if this graph rounds."""
        if self.rounding is None:
            return self.weight(name, source)
        integers, scales = rounded(source, self.rounding, self.dtype)
        self.weights.add(f"{name}.scales", scales)
        kind, stored = _INTEGERS[self.rounding.bits]
        self.weights.add(name, integers, stored)
        tensor = self._external(name, source.shape, kind)
        own = helper.np_dtype_to_tensor_dtype(self.dtype)
        scale = self._external(f"{name}.scales", scales.shape, own)
        if len(scales.shape) == 1:
            self.opset = max(self.opset, HALF_SCALES_SINCE)
            return self.op("DequantizeLinear", tensor, scale, axis=1)
        self.opset = max(self.opset, BLOCKS_SINCE)
        rows, groups = source.shape[-2], scales.shape[-2]
        axis = len(source.shape) - 2
        return self.op("DequantizeLinear", tensor, scale, axis=axis, block_size=rows // groups)

    def _external(self, name: str, shape: Sequence[int], kind: int) -> str:
        """Declares a tensor of the weight file by its ONNX type."""
        if name not in self._tensors:
            tensor = TensorProto(name=name, dims=shape, data_type=kind)
            tensor.data_location = TensorProto.EXTERNAL
            self._tensors[name] = tensor
        return name

    def constant(self, values: Any, dtype: npt.DTypeLike) -> str:
        """A small tensor inside the graph."""
        array = np.asarray(values, dtype)
        name = f"{array.dtype}_{list(array.shape)}_{zlib.crc32(array.tobytes()):08x}"
        self._tensors.setdefault(name, numpy_helper.from_array(array, name))
        return name

    def ints(self, *values: int) -> str:
        """A constant shape or list of axes."""
        return self.constant(values, np.int64)

    def save(self, path: Path, weights: str, spans: Spans) -> None:
        """Writes the graph; `weights` is the name of the weight file beside it."""
        for tensor in self._tensors.values():
            if tensor.data_location == TensorProto.EXTERNAL:
                offset, length = spans[tensor.name]
                for key, value in ("location", weights), ("offset", offset), ("length", length):
                    tensor.external_data.add(key=key, value=str(value))
        graph = helper.make_graph(
            self._nodes,
            self.name,
            [_value(spec) for spec in self.inputs],
            [_value(spec) for spec in self.outputs],
            list(self._tensors.values()),
        )
        own = helper.make_opsetid("", self.opset)
        opsets = [own, *(helper.make_opsetid(domain, 1) for domain in self.domains)]
        version = helper.find_min_ir_version_for([own])
        model = helper.make_model(graph, opset_imports=opsets, ir_version=version)
        path.write_bytes(model.SerializeToString(deterministic=True))


def _spec(name: str, shape: Shape, dtype: npt.DTypeLike) -> TensorSpec:
    return TensorSpec(name=name, shape=tuple(shape), dtype=np.dtype(dtype).name)


def _value(spec: TensorSpec) -> onnx.ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
    return helper.make_tensor_value_info(spec.name, kind, spec.shape)
