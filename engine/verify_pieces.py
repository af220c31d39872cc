"""Cuts a graph of a bundle into pieces that follow one another, each with its own weights.

The exporter names what flows from layer to layer (`hidden.<n>`): there it is cut. A graph without
such names is one piece. Cutting changes no node: what the pieces compute, the graph computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from molmo_engine.export_graph import HIDDEN

_BF16, _FP32 = TensorProto.BFLOAT16, TensorProto.FLOAT


@dataclass(frozen=True)
class Piece:
    """A part of a graph."""

    model: bytes  # serialised, its weights in the bundle's weight file
    caches: tuple[str, ...]  # those of its inputs that are decoder caches


def cut(path: Path) -> list[Piece]:
    """The pieces of a graph in their order; inputs are the graph's own or outputs of others.

    bf16 becomes fp32, with the weights that bf16 left: no CPU computes these graphs in bf16.
    """
    model = onnx.load(path, load_external_data=False)
    kind = next(i for i in model.graph.input).type.tensor_type.elem_type
    nodes = list(model.graph.node)
    ends = [i for i, node in enumerate(nodes) if node.output[0].startswith(HIDDEN)]
    ends = [*ends, len(nodes) - 1]
    known = {value.name: value for value in (*model.graph.input, *model.graph.output)}
    for end in ends[:-1]:
        name = nodes[end].output[0]
        known[name] = helper.make_tensor_value_info(name, kind, None)
    found, start = [], 0
    for end in ends:
        made = [name for node in nodes[start : end + 1] for name in node.output]
        piece = _piece(model, known, start, [name for name in made if name in known])
        names = [value.name for value in piece.graph.input]
        caches = tuple(name for name in names if name.startswith(("keys.", "values.")))
        piece = _widened(piece) if kind == _BF16 else piece
        found.append(Piece(piece.SerializeToString(), caches))
        start = end + 1
    return found


def _piece(
    model: onnx.ModelProto,
    known: dict[str, onnx.ValueInfoProto],
    start: int,
    outputs: Sequence[str],
) -> onnx.ModelProto:
    """What computes `outputs` from inputs of the graph and cuts before node `start`."""
    earlier = {name for node in model.graph.node[:start] for name in node.output}
    given = {name for name in known if name in earlier}
    given |= {value.name for value in model.graph.input}
    wanted, nodes = set(outputs), []
    for node in reversed(model.graph.node):
        if wanted & set(node.output) - given:
            nodes.append(node)
            wanted |= {name for name in node.input if name}  # an empty one is left out
    graph = helper.make_graph(
        nodes[::-1],
        model.graph.name,
        [known[name] for name in sorted(wanted & given)],
        [known[name] for name in outputs],
        [tensor for tensor in model.graph.initializer if tensor.name in wanted],
    )
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)


def _widened(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same in fp32; weights stay bf16 in their file and are cast as they are read."""
    graph = model.graph
    narrow = {t.name for t in graph.initializer if t.data_type == _BF16}
    for node in graph.node:
        node.input[:] = [f"{name}.wide" if name in narrow else name for name in node.input]
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.i == _BF16:
                attribute.i = _FP32
    casts = [helper.make_node("Cast", [n], [f"{n}.wide"], to=_FP32) for n in sorted(narrow)]
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type == _BF16:
            value.type.tensor_type.elem_type = _FP32
    return model
