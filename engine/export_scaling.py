"""Scales input channels of rounded matrices so that rounding hurts less where inputs are large.

After AWQ (Lin et al. 2023): a matrix reads x / s instead of x and has its rows multiplied by s
before they are rounded. Only where the division folds exactly into what makes x, a norm's weight
or the rows of the matrix in front: the graphs stay the same. Knows no pictures and no files but
its own: what x looks like, it is told (see export_calibration.py).

K inputs, N outputs of a matrix, n tokens looked at, H query heads, G key/value heads
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file

from molmo_engine.export_checkpoint import Sources
from molmo_engine.export_rounding import Precision, is_rounded, round_trip
from molmo_engine.export_weights import Source
from molmo_model.config import DecoderConfig

SCALING = "scaling.safetensors"  # in a bundle: what was chosen
POWERS = np.linspace(0, 1, 11)  # of the mean input, tried one after the other; 0 scales nothing
FLOOR = 1e-4  # of the largest mean: a channel that is silent on the pictures is not blown up
AT_ONCE = 2048  # outputs of a matrix tried together

Floats = npt.NDArray[np.float32]
Scaling = Mapping[str, Floats]  # by Fold.name; (K,), or (G * head,) behind attention


@dataclass(frozen=True)
class Inputs:
    """What a matrix reads on the calibration pictures."""

    rows: Floats  # (n, K), of some tokens
    mean: Floats  # (K,), magnitude over all tokens


@dataclass(frozen=True)
class Fold:
    """Matrices that read the same input, and the parameters whose rows make that input."""

    readers: tuple[str, ...]  # (N, K) each
    makers: tuple[str, ...]  # (rows, ...) each
    first: int = 0  # of the makers' rows
    groups: tuple[int, int] = (
        1,
        1,
    )  # (G, H / G): each group of inputs is made once, read so often

    @property
    def name(self) -> str:
        """The module whose input it is."""
        return self.readers[0].removesuffix(".weight")

    def spread(self, scales: Floats) -> Floats:
        """Scales of what is made, for every input that reads it: (K / repeats,) -> (K,)."""
        count, repeats = self.groups
        return scales.reshape(count, 1, -1).repeat(repeats, axis=1).ravel()

    def gathered(self, mean: Floats) -> Floats:
        """Means of the inputs, for what is made: (K,) -> (K / repeats,)."""
        count, repeats = self.groups
        joined: Floats = mean.reshape(count, repeats, -1).mean(1).ravel()
        return joined


def folds(config: DecoderConfig) -> list[Fold]:
    """Where a decoder's inputs can be scaled exactly."""
    return [fold for layer in range(config.layers) for fold in _folds(config, layer)]


def _folds(config: DecoderConfig, layer: int) -> list[Fold]:
    attn, mlp = f"transformer.blocks.{layer}.attn", f"transformer.blocks.{layer}.mlp"
    qkv = [f"{attn}.att_proj.weight"] + [f"{attn}.att_proj.bias"] * config.qkv_bias
    values = (config.heads + config.kv_heads) * config.head_dim
    shared = (config.kv_heads, config.heads // config.kv_heads)
    found = [Fold((f"{attn}.attn_out.weight",), tuple(qkv), values, shared)]
    count = config.experts.count if config.experts else 0
    experts = [f"{mlp}.experts.{number}" for number in range(count)]
    for expert in experts:
        found.append(Fold((f"{expert}.down_proj.weight",), (f"{expert}.up_proj.weight",)))
    if not experts:  # the first half of the fused rows goes up
        found.append(Fold((f"{mlp}.ff_out.weight",), (f"{mlp}.ff_proj.weight",)))
    if config.norm_after:  # the inputs are the residual stream itself, which others read too
        return found
    read = [f"{one}.{part}_proj.weight" for one in experts for part in ("up", "gate")]
    readers = (f"{mlp}.gate.weight", *read) if experts else (f"{mlp}.ff_proj.weight",)
    found.append(Fold(readers, (f"{mlp}.ff_norm.weight",)))
    found.append(Fold((qkv[0],), (f"{attn}.attn_norm.weight",)))
    return found


def scaled(sources: Sources, config: DecoderConfig, scaling: Scaling) -> Sources:
    """The same model with other weights: what reads is multiplied, what makes is divided."""
    found = dict(sources)
    for fold in folds(config):
        if fold.name in scaling:
            scales = scaling[fold.name]
            for name in fold.readers:
                found[name] = _times_columns(found[name], fold.spread(scales))
            for name in fold.makers:
                found[name] = _over_rows(found[name], scales, fold.first)
    return found


def search(
    sources: Sources, config: DecoderConfig, inputs: Mapping[str, Inputs], precision: Precision
) -> dict[str, Floats]:
    """The scales with the smallest error of what the matrices make of their inputs."""
    return {
        fold.name: _best(fold, sources, inputs[fold.name], precision)
        for fold in folds(config)
        if fold.name in inputs
    }


def candidates(fold: Fold, mean: Floats) -> list[Floats]:
    """Powers of the mean inputs around one, (K / repeats,) each; never zero, always finite."""
    made = fold.gathered(mean)
    if not made.max() > 0:
        return [np.ones_like(made)]
    made = np.maximum(made / made.max(), np.float32(FLOOR))
    powers = [(made**power).astype(np.float32) for power in POWERS]
    return [scales / np.sqrt(scales.max() * scales.min()) for scales in powers]


def _best(fold: Fold, sources: Sources, inputs: Inputs, precision: Precision) -> Floats:
    tried = candidates(fold, inputs.mean)
    matrices = {name: sources[name] for name in fold.readers if is_rounded(name, sources[name])}
    spread = [fold.spread(scales) for scales in tried]
    errors = sum(
        _errors(source, spread, inputs.rows, precision, is_stack=".experts." in name)
        for name, source in matrices.items()
    )
    return tried[int(np.argmin(errors))]


def _errors(
    source: Source, tried: Sequence[Floats], rows: Floats, precision: Precision, is_stack: bool
) -> npt.NDArray[np.float64]:
    """Squared error of the outputs (n, N) of one matrix, for each of the scales (K,)."""
    rounding = precision.rounding
    assert rounding is not None
    matrix = source.T.make()
    group = rounding.group(len(matrix), is_stack)
    errors = np.zeros(len(tried))
    for first in range(0, matrix.shape[1], AT_ONCE):
        part = matrix[:, first : first + AT_ONCE]
        for number, scales in enumerate(tried):
            kept = round_trip(part * scales[:, None], rounding, group, precision.dtype)
            lost = kept / scales[:, None] - part
            errors[number] += np.square(rows @ lost, dtype=np.float64).sum()
    return errors


def _times_columns(source: Source, scales: Floats) -> Source:
    return Source(source.shape, lambda: source.make() * scales)


def _over_rows(source: Source, scales: Floats, first: int) -> Source:
    """Divides rows from `first` on, as many as there are scales."""

    def make() -> Floats:
        array: Floats = source.make().copy()
        rows = array[first : first + len(scales)]
        rows /= scales.reshape(-1, *[1] * (array.ndim - 1))
        return array

    return Source(source.shape, make)


def save_scaling(directory: Path, scaling: Scaling) -> None:
    """Keeps the scales in a bundle, so that it can be compared with its checkpoint."""
    save_file({name: np.ascontiguousarray(s) for name, s in scaling.items()}, directory / SCALING)


def read_scaling(directory: Path) -> Scaling:
    """The scales of a bundle; none where it was not calibrated."""
    path = directory / SCALING
    return load_file(path) if path.exists() else {}
