"""A checkpoint on its way into a bundle: its tensors, and a model of them that streams.

Neither holds the checkpoint in memory. A streamed model reads the weights of each module when
that computes and forgets them right after: a pass reads the whole checkpoint and needs the memory
of its largest tensor. Slow where the model would fit; the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from molmo_engine.export_weights import Array, Source
from molmo_model.config import MolmoConfig
from molmo_model.molmo import Molmo
from molmo_model.weights import StoredTensor, empty_model, stored_tensors

Sources = Mapping[str, Source]  # by the names of the model's parameters


def read_checkpoint(directory: Path) -> tuple[MolmoConfig, Sources]:
    """Config and weights, as fp32 when they are made. Raises ConfigError and WeightsError."""
    config = MolmoConfig.from_json(directory / "config.json")
    stored = stored_tensors(directory, config)
    return config, {
        name: Source(tensor.shape, partial(_numbers, tensor)) for name, tensor in stored.items()
    }


def _numbers(tensor: StoredTensor) -> Array:
    numbers: Array = tensor.read().float().numpy()
    return numbers


def streamed_model(
    config: MolmoConfig, sources: Sources, dtype: torch.dtype = torch.float32
) -> Molmo:
    """A model that computes in `dtype` and holds no weights between its modules' turns."""
    model = empty_model(config)
    for module, own in owners(model):
        reads = {leaf: sources[name].make for leaf, name in own.items()}
        _forget(list(reads), dtype, module)
        module.register_forward_pre_hook(partial(_read, reads, dtype))
        module.register_forward_hook(partial(_forget, list(reads), dtype))
    return model.eval()


def owners(model: nn.Module) -> list[tuple[nn.Module, dict[str, str]]]:
    """The modules with parameters of their own, and those parameters' full names."""
    found = []
    for path, module in model.named_modules():
        leaves = [leaf for leaf, _ in module.named_parameters(recurse=False)]
        if leaves:
            found.append((module, {leaf: f"{path}.{leaf}" for leaf in leaves}))
    return found


def _read(
    reads: Mapping[str, Callable[[], Array]], dtype: torch.dtype, module: nn.Module, _: Any
) -> None:
    for leaf, make in reads.items():
        value = torch.from_numpy(make()).to(dtype)
        setattr(module, leaf, nn.Parameter(value, requires_grad=False))


def _forget(leaves: list[str], dtype: torch.dtype, module: nn.Module, *_: Any) -> None:
    for leaf in leaves:  # nothing, but of the right type and on the right device
        setattr(module, leaf, nn.Parameter(torch.empty(0, dtype=dtype), requires_grad=False))
