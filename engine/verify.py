"""Compares a bundle with the checkpoint it was made from: ONNX Runtime against torch.

One random picture with a random question, then greedy decoding in step: both read the tokens
that torch chooses, so one early difference does not hide what comes after it. A bundle of rounded
weights has to equal torch with the same rounded weights; what the rounding itself costs is stated.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from molmo_engine.bundle import Bundle
from molmo_engine.export_rounding import PRECISIONS, Rounding, round_trip
from molmo_engine.ort_runtime import OrtRuntime, best_dialect
from molmo_engine.runtime import Floats, Ints, Runtime
from molmo_model.image import prepare_image
from molmo_model.molmo import Molmo
from molmo_model.torch_runtime import TorchRuntime
from molmo_model.weights import load_model

STEPS = 12
# Share of the largest logit. fp32: other summation orders; fp16: its 11 bits through all layers.
TOLERANCE = {np.dtype(np.float32): 2e-5, np.dtype(np.float16): 2e-2}


class VerifyError(RuntimeError):
    """A bundle that does not compute what its checkpoint does."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How far a bundle is from torch, the worst over its dialects that run here."""

    dialects: tuple[str, ...]
    feature_error: float  # of the image features, as share of the largest
    logit_error: float  # as share of the largest logit
    tokens_equal: bool  # every greedy token
    rounding_error: float = 0.0  # of torch with rounded weights, as share of the largest logit
    rounding_agreement: float = 1.0  # share of its greedy tokens that are those without rounding


@dataclass(frozen=True)
class _Trace:
    """What one runtime made of the question: features (T, D), logits (steps, V)."""

    features: Floats
    logits: Floats


def verify_bundle(bundle_dir: str | os.PathLike[str], checkpoint_dir: str | Path) -> Verdict:
    """Raises VerifyError when the bundle is further from torch than its precision explains."""
    bundle = Bundle.open(bundle_dir)
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (480, 640, 3), np.uint8)
    words = rng.integers(0, bundle.config.decoder.vocab_size, 9)
    precision = PRECISIONS[bundle.manifest.precision]
    model = load_model(checkpoint_dir)
    exact = wanted = _trace(TorchRuntime(model), bundle, rgb, words, None)
    greedy = exact.logits.argmax(-1)
    if precision.rounding:
        round_model(model, precision.rounding, precision.dtype)
        wanted = _trace(TorchRuntime(model), bundle, rgb, words, greedy)
    dialects = ("native", "compat") if best_dialect() == "native" else ("compat",)
    found = [
        _trace(OrtRuntime(bundle, dialect=dialect, exact=True), bundle, rgb, words, greedy)
        for dialect in dialects
    ]
    verdict = Verdict(
        dialects=dialects,
        feature_error=max(_error(trace.features, wanted.features) for trace in found),
        logit_error=max(_error(trace.logits, wanted.logits) for trace in found),
        tokens_equal=all(_agreement(trace, wanted) == 1 for trace in found),
        rounding_error=_error(wanted.logits, exact.logits),
        rounding_agreement=_agreement(wanted, exact),
    )
    _judge(verdict, bundle.manifest.precision)
    return verdict


@torch.no_grad()
def round_model(model: Molmo, rounding: Rounding, dtype: npt.DTypeLike) -> None:
    """Gives a model, in place, the weights that a rounded bundle of it has."""
    for name, parameter in model.transformer.blocks.named_parameters():
        if parameter.ndim == 2 and not name.endswith("mlp.gate.weight"):  # not the router
            matrix = parameter.T.numpy()
            group = rounding.group(len(matrix), is_stack=".experts." in name)
            kept = round_trip(matrix, rounding, group, dtype)
            parameter.copy_(torch.from_numpy(kept).T)


def _trace(
    runtime: Runtime,
    bundle: Bundle,
    rgb: npt.NDArray[np.uint8],
    words: Ints,
    tokens: Ints | None,
) -> _Trace:
    """Asks once; decodes the given tokens, or greedily."""
    image = prepare_image(rgb, bundle.config)
    ids = np.concatenate([words[:1], image.tokens, words[1:]])
    features = runtime.encode(image.crops, image.masks, image.index, len(ids))
    logits = [runtime.prefill(ids, features).copy()]
    for i in range(STEPS):
        token = logits[-1].argmax() if tokens is None else tokens[i]
        logits.append(runtime.step(np.array([token]))[0].copy())
    runtime.close()
    return _Trace(features, np.stack(logits))


def _error(found: Floats, wanted: Floats) -> float:
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def _agreement(found: _Trace, wanted: _Trace) -> float:
    """The share of steps at which both would choose the same token."""
    return float((found.logits.argmax(-1) == wanted.logits.argmax(-1)).mean())


def _judge(verdict: Verdict, precision: str) -> None:
    dtype = np.dtype(PRECISIONS[precision].dtype)
    tolerance = TOLERANCE[dtype]
    worst = max(verdict.feature_error, verdict.logit_error)
    # Near a tie 16 bits may choose the other token; the logits still have to agree.
    is_right = worst <= tolerance and (verdict.tokens_equal or dtype != np.float32)
    if not is_right:  # also NaN
        raise VerifyError(
            f"the {precision} bundle differs from torch: {verdict}; allowed is {tolerance:g}. "
            "Export with precision='fp32', and report it if that fails too"
        )
