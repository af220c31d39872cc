"""Reads the features of TFRecord files without TensorFlow.

A record is a tf.train.Example in protocol buffers' wire format: a map from names to lists of
bytes or of whole numbers. Lists of floats are left out, as nobody here reads one. Checksums are
not looked at: compressed files have one of their own.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from gzip import GzipFile
from pathlib import Path
from typing import IO, Any

from molmo_training.sources.columns import SchemaError

_HEAD, _TAIL = struct.Struct("<QI"), struct.Struct("<I")  # length and its checksum; checksum
_VARINT, _BYTES = 0, 2  # how a field's value is written
_BYTES_LIST, _INT_LIST = 1, 3  # fields of a Feature


def read_examples(file: IO[bytes] | GzipFile, path: Path) -> Iterator[dict[str, list[Any]]]:
    """The features of each record: name -> bytes or whole numbers."""
    number = 0
    while head := file.read(_HEAD.size):
        length = _HEAD.unpack(head)[0] if len(head) == _HEAD.size else 0
        data, tail = file.read(length), file.read(_TAIL.size)
        if len(data) < length or len(tail) < _TAIL.size:
            raise SchemaError(f"{path}: ends within record {number}; fetch it again")
        try:
            yield _example(data)
        except (IndexError, ValueError):
            raise SchemaError(f"{path}: record {number} is no tf.train.Example") from None
        number += 1


def _example(data: bytes) -> dict[str, list[Any]]:
    found = {}
    for _, features in _fields(data):
        for _, entry in _fields(features):
            parts = dict(_fields(entry))
            found[parts[1].decode()] = _feature(parts.get(2, b""))
    return found


def _feature(data: bytes) -> list[Any]:
    values: list[Any] = []
    for kind, items in _fields(data):
        for _, value in _fields(items) if kind in (_BYTES_LIST, _INT_LIST) else ():
            is_packed = kind == _INT_LIST and isinstance(value, bytes)
            values += _varints(value) if is_packed else [value]
    return values


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """(number, value) of each field of a message."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        if key & 7 not in (_VARINT, _BYTES):
            raise ValueError(f"wire type {key & 7}")
        value, at = _varint(data, at)
        if key & 7 == _VARINT:
            yield key >> 3, value
            continue
        if at + value > len(data):
            raise ValueError("a field ends after its message")
        yield key >> 3, data[at : at + value]
        at += value


def _varints(data: bytes) -> list[int]:
    values, at = [], 0
    while at < len(data):
        value, at = _varint(data, at)
        values.append(value)
    return values


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A whole number, seven bits a byte, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
