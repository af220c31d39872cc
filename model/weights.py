"""Loads and saves checkpoints in the published Hugging Face layouts.

One or several safetensors files, or the pickle of the mixture of experts (unpickled weights only),
beside a config.json. Reads tensor by tensor, so that no more than the model and one shard are in
memory.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from molmo_model.config import MolmoConfig
from molmo_model.molmo import Molmo

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLE = "pytorch_model.bin"


class WeightsError(ValueError):
    """A checkpoint whose tensors are not those of its config."""


@dataclass(frozen=True)
class StoredTensor:
    """A tensor that stays in its file until it is read."""

    shape: tuple[int, ...]
    read: Callable[[], Tensor]


def load_model(
    directory: str | Path,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Molmo:
    """Builds the model of a checkpoint directory, in eval mode.

    Raises ConfigError for its config.json, and WeightsError that names every missing, unexpected
    or wrongly shaped tensor at once, before any is read.
    """
    directory = Path(directory)
    config = MolmoConfig.from_json(directory / "config.json")
    model = empty_model(config)
    for name, stored in stored_tensors(directory, config).items():
        _assign(model, name, stored.read().to(device=device, dtype=dtype))
    return model.eval()


def empty_model(config: MolmoConfig) -> Molmo:
    """A model without memory for its weights."""
    with torch.device("meta"):
        return Molmo(config)


def stored_tensors(directory: Path, config: MolmoConfig) -> dict[str, StoredTensor]:
    """The tensors of a checkpoint by the names of our parameters; reads none of them.

    Raises WeightsError as `load_model` does.
    """
    own = {
        published_name(name, config): (name, tuple(parameter.shape))
        for name, parameter in empty_model(config).named_parameters()
    }
    stored = _stored(weight_files(directory))
    shapes = {name: tensor.shape for name, tensor in stored.items()}
    _compare(directory, {name: shape for name, (_, shape) in own.items()}, shapes)
    return {own[name][0]: tensor for name, tensor in stored.items()}


def save_model(model: Molmo, directory: str | Path) -> None:
    """Writes config.json and model.safetensors, each whole or not at all."""
    save_tensors(published_tensors(model), model.config, directory)


def save_tensors(
    tensors: Mapping[str, Tensor], config: MolmoConfig, directory: str | Path
) -> None:
    """The same of tensors by their published names."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    part = directory / f"{SINGLE}.part"
    save_file(stored, part, metadata={"format": "pt"})
    part.chmod(0o644)  # safetensors makes it readable by its owner only
    os.replace(part, directory / SINGLE)
    config.to_json(directory / "config.json.part")
    os.replace(directory / "config.json.part", directory / "config.json")


def published_tensors(model: Molmo) -> dict[str, Tensor]:
    """The parameters under the names of the published checkpoint of their variant."""
    return {published_name(name, model.config): value for name, value in model.named_parameters()}


def published_name(name: str, config: MolmoConfig) -> str:
    """What the published checkpoint calls a parameter of ours.

    The mixture of experts groups a block's tensors by branch, as our modules do, and has its head
    apart; the dense layout does neither.
    """
    if config.decoder.experts is None:
        return "model." + re.sub(r"(blocks\.\d+)\.(attn|mlp)\.", r"\1.", name)
    return "lm_head.weight" if name == "transformer.ff_out.weight" else f"model.{name}"


def weight_files(directory: Path) -> list[Path]:
    """The files with the tensors: those of the index, the single file, or the pickle."""
    index = directory / INDEX
    names = [SINGLE]
    if index.exists():
        try:
            names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        except (ValueError, KeyError, AttributeError) as error:
            raise WeightsError(f"{index}: not an index of safetensors files: {error}") from error
    elif not (directory / SINGLE).exists() and (directory / PICKLE).exists():
        names = [PICKLE]
    missing = [name for name in names if not (directory / name).is_file()]
    if missing:
        raise WeightsError(
            f"{directory}: no {', '.join(missing)}; a checkpoint is config.json and "
            f"{SINGLE}, or the files that {INDEX} names, or {PICKLE}"
        )
    return [directory / name for name in names]


def _stored(files: list[Path]) -> dict[str, StoredTensor]:
    """Every stored tensor by its name in the files."""
    found: dict[str, StoredTensor] = {}
    for path in files:
        if path.suffix == ".bin":
            for name, value in _unpickled(path).items():
                found[name] = StoredTensor(tuple(value.shape), value.detach)
            continue
        try:
            with safe_open(path, "pt") as file:
                for name in file.keys():  # noqa: SIM118 - safe_open is not a dict
                    shape = tuple(file.get_slice(name).get_shape())
                    found[name] = StoredTensor(shape, partial(_read, path, name))
        except SafetensorError as error:
            raise WeightsError(
                f"{path}: truncated or not a safetensors file ({error}); copy it again"
            ) from error
    return found


def _read(path: Path, name: str) -> Tensor:
    """One tensor, mapped: its pages count as memory until the tensor is dropped."""
    with safe_open(path, "pt") as file:
        return file.get_tensor(name)


def _unpickled(path: Path) -> dict[str, Tensor]:
    """The tensors of a pickle, mapped from the file; nothing but tensors is unpickled."""
    try:
        stored = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError) as error:
        raise WeightsError(f"{path}: no pickle of tensors alone ({error})") from error
    # The head stands outside the model; some uploads give it the model's prefix all the same.
    return {name.replace("model.lm_head.", "lm_head."): value for name, value in stored.items()}


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
