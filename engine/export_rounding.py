"""What a bundle's weights are rounded to, and the rounding itself: to nearest, symmetric.

Only the decoder's large matrices become INT8 or INT4; embeddings, norms, head, a mixture's router
and the whole picture half keep the 16 or 32 bits of the precision. A rounded matrix (..., K, N) is
integers of that shape and positive scales (..., K / group, N): weight = integer * scale.

K inputs, N outputs of a matrix
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper

from molmo_engine.export_weights import Array, Source

GROUP = 128  # inputs that share a scale; fewer where the width is not a multiple
OUTPUTS = 1024  # of a matrix, rounded at a time
BFLOAT16 = helper.tensor_dtype_to_np_dtype(TensorProto.BFLOAT16)  # numpy itself has none


@dataclass(frozen=True)
class Rounding:
    """How matrices are rounded."""

    bits: int
    is_grouped: bool  # a scale per group of inputs, not only per output

    @property
    def limit(self) -> int:
        """The largest integer; the smallest is its negative."""
        return int(2 ** (self.bits - 1)) - 1

    def group(self, rows: int, is_stack: bool) -> int:
        """Inputs that share a scale, of a matrix with `rows` inputs.

        Per output there is no scale in a stack of matrices: ONNX has blocks or one axis.
        """
        return math.gcd(rows, GROUP) if self.is_grouped or is_stack else rows


@dataclass(frozen=True)
class Precision:
    """Types of a bundle: what is computed in, and how the large matrices are rounded."""

    dtype: npt.DTypeLike
    rounding: Rounding | None = None


INT8, INT4 = Rounding(8, is_grouped=False), Rounding(4, is_grouped=True)
PRECISIONS: Mapping[str, Precision] = {
    "fp32": Precision(np.float32),
    "fp16": Precision(np.float16),
    "bf16": Precision(BFLOAT16),
    "int8": Precision(np.float16, INT8),
    "int4": Precision(np.float16, INT4),
    "int8-fp32": Precision(np.float32, INT8),  # for CPUs, which compute in fp32
    "int4-fp32": Precision(np.float32, INT4),
}


def rounded(matrix: Source, rounding: Rounding, dtype: npt.DTypeLike) -> tuple[Source, Source]:
    """Integers and scales of a matrix, or of a stack of them, as they are stored.

    INT8 as (..., K, N) int8, INT4 as (..., K, N / 2) uint8, the even output in the low bits;
    scales (..., K / group, N), or (N,) where all inputs share them.
    """
    *stack, rows, columns = matrix.shape
    group = rounding.group(rows, is_stack=bool(stack))

    def integers() -> Array:
        values, _ = round_to_nearest(matrix.make(), rounding, group, dtype)
        return values if rounding.bits == 8 else _packed(values)

    def scales() -> Array:
        found = _scales(matrix.make(), rounding, group, dtype)
        return found[0] if found.shape[:-1] == (1,) else found

    stored = columns if rounding.bits == 8 else columns // 2
    shape = (columns,) if not stack and group == rows else (*stack, rows // group, columns)
    return Source((*stack, rows, stored), integers), Source(shape, scales)


def round_to_nearest(
    matrix: Array, rounding: Rounding, group: int, dtype: npt.DTypeLike
) -> tuple[npt.NDArray[np.int8], Array]:
    """(..., K, N) -> integers (..., K, N), scales (..., K / group, N) of `dtype`, above zero."""
    scales = _scales(matrix, rounding, group, dtype)
    integers = np.empty(matrix.shape, np.int8)
    for part in _parts(matrix):
        wide = scales[..., None, part].astype(np.float32)
        steps = _blocks(matrix[..., part], group) / wide
        np.rint(steps, out=steps)
        np.clip(steps, -rounding.limit, rounding.limit, out=steps)
        integers[..., part] = steps.reshape(*matrix.shape[:-1], -1)
    return integers, scales


def round_trip(matrix: Array, rounding: Rounding, group: int, dtype: npt.DTypeLike) -> Array:
    """The matrix that a rounded bundle computes with: (..., K, N) -> (..., K, N) fp32."""
    integers, scales = round_to_nearest(matrix, rounding, group, dtype)
    kept = np.empty(matrix.shape, np.float32)
    for part in _parts(matrix):
        wide = scales[..., None, part].astype(np.float32)
        kept[..., part] = (_blocks(integers[..., part], group) * wide).reshape(
            kept[..., part].shape
        )
    return kept


def _scales(matrix: Array, rounding: Rounding, group: int, dtype: npt.DTypeLike) -> Array:
    """(..., K, N) -> (..., K / group, N): the largest weight of each group over the limit."""
    blocks = _blocks(matrix, group)
    largest = np.maximum(blocks.max(-2), -blocks.min(-2)) / rounding.limit
    smallest = np.finfo(np.dtype(dtype)).smallest_subnormal  # TensorRT refuses a scale of zero
    scales: Array = np.maximum(largest, smallest).astype(dtype)
    return scales


def _blocks(matrix: Array, group: int) -> Array:
    """(..., K, N) -> (..., K / group, group, N)."""
    *stack, rows, columns = matrix.shape
    return matrix.reshape(*stack, rows // group, group, columns)


def _parts(matrix: Array) -> list[slice]:
    """Slices of the outputs, so that rounding needs little memory beside the matrix."""
    return [slice(first, first + OUTPUTS) for first in range(0, matrix.shape[-1], OUTPUTS)]


def _packed(integers: npt.NDArray[np.int8]) -> npt.NDArray[np.uint8]:
    """Two integers a byte, as ONNX wants INT4: (..., N) -> (..., N / 2)."""
    nibbles = integers.view(np.uint8) & 15
    low, high = nibbles[..., 0::2], nibbles[..., 1::2] << np.uint8(4)
    packed: npt.NDArray[np.uint8] = np.bitwise_or(low, high, dtype=np.uint8)
    return packed


def kept(sources: Mapping[str, Source], precision: Precision) -> dict[str, Source]:
    """The weights of a checkpoint as a bundle of this precision keeps them, widened to fp32."""
    return {name: _kept(name, source, precision) for name, source in sources.items()}


def _kept(name: str, source: Source, precision: Precision) -> Source:
    rounding, dtype = precision.rounding, precision.dtype
    if rounding and is_rounded(name, source):
        group = rounding.group(source.shape[1], is_stack=".experts." in name)
        transposed = source.T
        return Source(
            transposed.shape, lambda: round_trip(transposed.make(), rounding, group, dtype)
        ).T
    if dtype == np.float32:
        return source
    return Source(source.shape, lambda: source.make().astype(dtype).astype(np.float32))


def is_rounded(name: str, source: Source) -> bool:
    """Whether a rounded bundle rounds this parameter of a model: (out, in) of a decoder layer."""
    is_router = name.endswith("mlp.gate.weight")
    return "transformer.blocks." in name and len(source.shape) == 2 and not is_router
