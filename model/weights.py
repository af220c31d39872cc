"""Loads and saves checkpoints in the published Hugging Face layout.

One or several safetensors files beside a config.json. Reads shard by shard, so that no more than
the model and one shard are in memory.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from molmo_model.config import MolmoConfig
from molmo_model.molmo import Molmo

PREFIX = "model."  # of every tensor name in the published files
SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"


class WeightsError(ValueError):
    """A checkpoint whose tensors are not those of its config."""


def load_model(
    directory: str | Path,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Molmo:
    """Builds the model of a checkpoint directory, in eval mode.

    Raises ConfigError for its config.json, and WeightsError that names every missing, unexpected
    or wrongly shaped tensor at once.
    """
    directory = Path(directory)
    config = MolmoConfig.from_json(directory / "config.json")
    with torch.device("meta"):
        model = Molmo(config)
    parameters = dict(model.named_parameters())
    wanted = {PREFIX + name: tuple(value.shape) for name, value in parameters.items()}
    shards = shard_files(directory)
    _compare(directory, wanted, _stored_shapes(shards))
    for name, value in _tensors(shards, dtype, device):
        _assign(model, name.removeprefix(PREFIX), value)
    return model.eval()


def save_model(model: Molmo, directory: str | Path) -> None:
    """Writes config.json and model.safetensors, each whole or not at all."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    tensors = {
        PREFIX + name: value.detach().cpu().contiguous()
        for name, value in model.named_parameters()
    }
    save_file(tensors, directory / f"{SINGLE}.part", metadata={"format": "pt"})
    (directory / f"{SINGLE}.part").chmod(0o644)  # safetensors makes it readable by its owner only
    os.replace(directory / f"{SINGLE}.part", directory / SINGLE)
    model.config.to_json(directory / "config.json.part")
    os.replace(directory / "config.json.part", directory / "config.json")


def shard_files(directory: Path) -> list[Path]:
    """The safetensors files of a checkpoint, from its index when it has one."""
    index = directory / INDEX
    if index.exists():
        try:
            names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        except (ValueError, KeyError, AttributeError) as error:
            raise WeightsError(f"{index}: not an index of safetensors files: {error}") from error
    else:
        names = [SINGLE]
    missing = [name for name in names if not (directory / name).is_file()]
    if missing:
        raise WeightsError(
            f"{directory}: no {', '.join(missing)}; a checkpoint is config.json and "
            f"{SINGLE}, or the files that {INDEX} names"
        )
    return [directory / name for name in names]


def _stored_shapes(shards: list[Path]) -> dict[str, tuple[int, ...]]:
    """Name and shape of every stored tensor, from the headers alone."""
    shapes = {}
    for path in shards:
        try:
            with safe_open(path, "pt") as file:
                for name in file.keys():  # noqa: SIM118 - safe_open is not a dict
                    shapes[name] = tuple(file.get_slice(name).get_shape())
        except SafetensorError as error:
            raise WeightsError(
                f"{path}: truncated or not a safetensors file ({error}); copy it again"
            ) from error
    return shapes


def _tensors(
    shards: list[Path], dtype: torch.dtype, device: torch.device | str
) -> Iterator[tuple[str, Tensor]]:
    for path in shards:
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118
                yield name, file.get_tensor(name).to(device=device, dtype=dtype)


def _assign(model: nn.Module, name: str, value: Tensor) -> None:
    owner, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(owner), leaf, nn.Parameter(value))


def _compare(
    directory: Path, wanted: dict[str, tuple[int, ...]], stored: dict[str, tuple[int, ...]]
) -> None:
    """Raises one error with all differences."""
    problems = [f"missing {name} {wanted[name]}" for name in sorted(wanted.keys() - stored)]
    problems += [f"unexpected {name} {stored[name]}" for name in sorted(stored.keys() - wanted)]
    problems += [
        f"{name} is {stored[name]}, config.json wants {wanted[name]}"
        for name in sorted(wanted.keys() & stored)
        if wanted[name] != stored[name]
    ]
    if problems:
        raise WeightsError(
            f"{directory}: the weights do not fit config.json, {len(problems)} differences: "
            + "; ".join(problems)
        )
