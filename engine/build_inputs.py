"""Rewrites an ONNX graph so that its stored weights become inputs.

A plan compiled from such a graph holds no weights: they are bound when it runs, and compiling
needs neither their memory nor their file. Works on the encoded protobuf message, so that a robot
that compiles its own plans needs no onnx package. Knows no TensorRT.

Field numbers are those of onnx.proto3, which are fixed for ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_GRAPH = 7  # of ModelProto
_INITIALIZER, _INPUT = 5, 11  # of GraphProto
_DIMS, _DATA_TYPE, _NAME, _DATA_LOCATION = 1, 2, 8, 14  # of TensorProto
_EXTERNAL = 1  # a data location
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5  # wire types


@dataclass(frozen=True)
class _Field:
    """One field of a message: its number, its value, and its bytes with number and length."""

    number: int
    value: int | bytes
    encoded: bytes


def weights_as_inputs(model: bytes) -> bytes:
    """An encoded ONNX model whose externally stored tensors are inputs of the same names."""
    return b"".join(
        _message(_GRAPH, _rewritten(_content(field))) if field.number == _GRAPH else field.encoded
        for field in _fields(model)
    )


def _rewritten(graph: bytes) -> bytes:
    """A GraphProto with its stored weights moved from the initializers to the inputs."""
    parts = []
    for field in _fields(graph):
        stored = _stored_outside(_content(field)) if field.number == _INITIALIZER else None
        parts.append(field.encoded if stored is None else _message(_INPUT, stored))
    return b"".join(parts)


def _stored_outside(tensor: bytes) -> bytes | None:
    """The ValueInfoProto of a TensorProto whose data are in another file; None for others."""
    name, kind, location = b"", 0, 0
    shape: list[int] = []
    for field in _fields(tensor):
        if field.number == _NAME:
            name = _content(field)
        elif field.number == _DATA_TYPE:
            kind = _number(field)
        elif field.number == _DATA_LOCATION:
            location = _number(field)
        elif field.number == _DIMS:
            shape += _numbers(field)
    return _value_info(name, kind, shape) if location == _EXTERNAL else None


def _value_info(name: bytes, kind: int, shape: list[int]) -> bytes:
    """ValueInfoProto(name=1, type=2); TypeProto(tensor_type=1(elem_type=1, shape=2))."""
    dimensions = b"".join(_message(1, _integer(1, size)) for size in shape)
    tensor_type = _integer(1, kind) + _message(2, dimensions)
    return _message(1, name) + _message(2, _message(1, tensor_type))


def _fields(message: bytes) -> Iterator[_Field]:
    position = 0
    while position < len(message):
        start = position
        key, position = _varint(message, position)
        wire = key & 7
        value: int | bytes
        if wire == _VARINT:
            value, position = _varint(message, position)
        else:
            size = {_FIXED64: 8, _FIXED32: 4}.get(wire)
            if size is None:
                assert wire == _LENGTH, f"wire type {wire} at byte {start}: this is no ONNX file"
                size, position = _varint(message, position)
            value = message[position : position + size]
            position += size
        yield _Field(key >> 3, value, message[start:position])


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first; and the position behind it."""
    value = shift = 0
    while True:
        byte = message[position]
        position += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, position


def _encoded(value: int) -> bytes:
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes((*parts, value))


def _message(number: int, content: bytes) -> bytes:
    return _encoded(number << 3 | _LENGTH) + _encoded(len(content)) + content


def _integer(number: int, value: int) -> bytes:
    return _encoded(number << 3 | _VARINT) + _encoded(value)


def _content(field: _Field) -> bytes:
    assert isinstance(field.value, bytes), field
    return field.value


def _number(field: _Field) -> int:
    assert isinstance(field.value, int), field
    return field.value


def _numbers(field: _Field) -> list[int]:
    """A repeated number, of which a field has one, or all of them packed."""
    if isinstance(field.value, int):
        return [field.value]
    numbers, position = [], 0
    while position < len(field.value):
        number, position = _varint(field.value, position)
        numbers.append(number)
    return numbers
