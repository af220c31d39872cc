"""How near each layer comes to the end of fp16: the largest magnitude that goes in or comes out.

Models trained in bf16 may have activations that fp16 cannot hold, and one of them turns the answer
into nothing. Watched in torch, in fp32, layer by layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor, nn

from molmo_engine.export_rounding import PRECISIONS

FP16_LIMIT = 65504.0


class RangeError(ValueError):
    """Activations that the asked precision cannot hold."""


def watch_range(model: nn.Module) -> dict[str, float]:
    """From now on keeps, by module, its largest activation as a share of fp16's range."""
    shares: dict[str, float] = {}
    for path, module in model.named_modules():
        if path and not any(module.children()):
            module.register_forward_hook(partial(_note, shares, path))
    return shares


def check_range(shares: Mapping[str, float], precision: str) -> None:
    """Raises RangeError where a bundle of this precision would compute infinities."""
    layer, share = loudest(shares)
    if PRECISIONS[precision].dtype == np.float16 and not share < 1:  # also NaN
        raise RangeError(
            f"{layer}: its activations reach {share:.2g} times what fp16 holds, {precision} would "
            "compute infinities. Export with --precision bf16, or fp32"
        )


def loudest(shares: Mapping[str, float]) -> tuple[str, float]:
    """The module that comes nearest to the limit, and how near: 1 and above overflows."""
    return max(shares.items(), key=lambda item: item[1])


def _note(
    shares: dict[str, float], path: str, _: nn.Module, inputs: tuple[Any, ...], output: Tensor
) -> None:
    tensors = [t for t in (*inputs, output) if t.is_floating_point() and t.numel()]
    largest = max((float(t.detach().abs().max()) for t in tensors), default=0.0)
    shares[path] = max(shares.get(path, 0.0), largest / FP16_LIMIT)
