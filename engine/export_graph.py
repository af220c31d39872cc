"""A small ONNX graph builder, and the weight file that all graphs of a bundle share.

Knows nothing of Molmo: names, nodes and tensors in, a model out. Weights lie in one safetensors
file whose tensors the graphs name by offset as external data, so a second dialect costs no
second copy.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

from molmo_engine.bundle import TensorSpec

Array = npt.NDArray[Any]
Shape = Sequence[int | str]  # a word is a dynamic dimension
Spans = dict[str, tuple[int, int]]  # offset and length in bytes of each tensor of a file


class ExportError(ValueError):
    """A checkpoint or a target that cannot become a bundle as asked."""


class WeightFile:
    """Collects the weights of several graphs under one name each, then writes them once."""

    def __init__(self, dtype: npt.DTypeLike) -> None:
        self.dtype = np.dtype(dtype)
        self._arrays: dict[str, Array] = {}

    def add(self, name: str, array: Array) -> None:
        """Keeps `array` under `name`; the same name again means the same tensor."""
        if name in self._arrays:
            assert self._arrays[name].shape == array.shape, (name, array.shape)
            return
        with np.errstate(over="ignore"):
            stored = np.ascontiguousarray(array, self.dtype)
        if not np.isfinite(stored).all():
            raise ExportError(f"{name}: values do not fit {self.dtype}; export with fp32")
        self._arrays[name] = stored

    def write(self, path: Path) -> Spans:
        """Writes the file and tells where each tensor lies in it."""
        save_file(self._arrays, path)
        with path.open("rb") as file:
            header_size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(header_size))
        ends = {name: entry["data_offsets"] for name, entry in header.items()}
        return {name: (8 + header_size + a, b - a) for name, (a, b) in ends.items()}


class Graph:
    """One ONNX graph in the making. Methods take and return names of tensors.

    Asking twice for the same operation gives the same tensor: what all layers share is
    computed once.
    """

    def __init__(self, name: str, weights: WeightFile) -> None:
        self.name = name
        self.weights = weights
        self.dtype = weights.dtype
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
        for node in self._nodes:
            for names in (node.input, node.output):
                names[:] = [name if old == tensor else old for old in names]

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

    def weight(self, name: str, array: Array) -> str:
        """A tensor of the shared weight file, in the precision of the bundle."""
        self.weights.add(name, array)
        if name not in self._tensors:
            tensor = TensorProto(name=name, dims=array.shape)
            tensor.data_type = helper.np_dtype_to_tensor_dtype(self.dtype)
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

    def save(self, path: Path, opset: int, weights: str, spans: Spans) -> None:
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
        opsets = [helper.make_opsetid("", opset)]
        version = helper.find_min_ir_version_for(opsets)
        model = helper.make_model(graph, opset_imports=opsets, ir_version=version)
        path.write_bytes(model.SerializeToString(deterministic=True))


def _spec(name: str, shape: Shape, dtype: npt.DTypeLike) -> TensorSpec:
    return TensorSpec(name=name, shape=tuple(shape), dtype=np.dtype(dtype).name)


def _value(spec: TensorSpec) -> onnx.ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype))
    return helper.make_tensor_value_info(spec.name, kind, spec.shape)
