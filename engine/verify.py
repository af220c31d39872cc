"""Compares a bundle with the checkpoint it was made from: ONNX Runtime against torch.

One random picture with a random question, then random words in steps of several tokens and of one:
at each the logits have to agree, and the token that greedy decoding would choose. Both sides hold
one layer in memory at a time, so that what was exported can be compared on the same machine. A
bundle has to equal torch with the weights that its precision keeps, 16 bits or fewer; what keeping
less than the checkpoint costs is stated. That matters most where a model decides: a router near a
tie sends a token to another expert when its weights or its input are rounded, in torch as in the
graphs. So a mixture of experts may be asked again: a wrong graph fails every question.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from molmo_engine.bundle import Bundle
from molmo_engine.export_checkpoint import Sources, read_checkpoint, streamed_model
from molmo_engine.export_range import check_range, watch_range
from molmo_engine.export_rounding import BFLOAT16, PRECISIONS, kept
from molmo_engine.export_scaling import read_scaling, scaled
from molmo_engine.ort_runtime import dialects_here
from molmo_engine.runtime import STEP, Floats, Ints
from molmo_engine.verify_runtime import PiecewiseRuntime
from molmo_model.config import MolmoConfig
from molmo_model.image import ImageInputs, prepare_image
from molmo_model.torch_runtime import TorchRuntime

WORDS = 9  # of the question
TRIES = 3  # questions to a mixture, in 16 bits or fewer; to all others one
STEPS = (STEP, 1)  # tokens of each pass behind it
# Share of the largest logit. fp32: other summation orders; 16 bits: the 11 or 8 bits of fp16 or
# bf16 through all layers.
TOLERANCE = {"float32": 2e-5, "float16": 2e-2, "bfloat16": 5e-2}


class VerifyError(RuntimeError):
    """A bundle that does not compute what its checkpoint does."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How far a bundle is from torch, the worst over its dialects that run here."""

    dialects: tuple[str, ...]
    feature_error: float  # of the image features, as share of the largest
    logit_error: float  # as share of the largest logit
    tokens_equal: bool  # every greedy token
    rounding_error: float = 0.0  # of torch in the bundle's precision, as share of the largest
    rounding_agreement: float = 1.0  # share of its greedy tokens that are those of fp32
    ranges: Mapping[str, float] = field(default_factory=dict)  # see export_range.watch_range


class Reader(Protocol):
    """What is compared: the part of a Runtime that reads."""

    def encode(self, crops: Floats, masks: Floats, index: Ints, tokens: int) -> Floats: ...

    def prefill(self, ids: Ints, features: Floats | None) -> Floats: ...

    def step(self, ids: Ints) -> Floats: ...


@dataclass(frozen=True)
class _Question:
    """A picture, a prompt (T,) with its place, and the words that follow (n,)."""

    image: ImageInputs
    ids: Ints
    words: Ints

    @property
    def rows(self) -> int:
        """Cache rows that it needs: torch's cache is as large as it is asked for."""
        return len(self.ids) + len(self.words)


@dataclass(frozen=True)
class _Trace:
    """What one side made of the question: features (T, D), logits (1 + n, V)."""

    features: Floats
    logits: Floats


def verify_bundle(bundle_dir: str | os.PathLike[str], checkpoint_dir: str | Path) -> Verdict:
    """Raises VerifyError when the bundle is further from torch than its precision explains."""
    bundle = Bundle.open(bundle_dir)
    config, sources = read_checkpoint(Path(checkpoint_dir))
    precision = PRECISIONS[bundle.manifest.precision]
    may_tip = config.decoder.experts is not None and np.dtype(precision.dtype) != np.float32
    tries = TRIES if may_tip else 1
    for seed in range(tries):
        verdict = _compare(bundle, config, sources, _question(config, seed))
        if _is_right(verdict, bundle.manifest.precision):
            return verdict
    raise VerifyError(_complaint(verdict, bundle.manifest.precision))


def _compare(
    bundle: Bundle, config: MolmoConfig, sources: Sources, question: _Question
) -> Verdict:
    model = streamed_model(config, sources)
    ranges = watch_range(model)
    exact = _trace(TorchRuntime(model, question.rows), question)
    check_range(ranges, bundle.manifest.precision)
    wanted, lossy = _expected(bundle, config, sources, question, exact)
    written = {graph.dialect for graph in bundle.manifest.graphs}
    dialects = tuple(dialect for dialect in dialects_here() if dialect in written)
    found = [_trace(PiecewiseRuntime(bundle, dialect), question) for dialect in dialects]
    return Verdict(
        dialects=dialects,
        feature_error=max(_error(trace.features, wanted.features) for trace in found),
        logit_error=max(_error(trace.logits, wanted.logits) for trace in found),
        tokens_equal=all(_agreement(trace, wanted) == 1 for trace in found),
        rounding_error=_error(lossy.logits, exact.logits),
        rounding_agreement=_agreement(lossy, exact),
        ranges=ranges,
    )


def rows_needed(config: MolmoConfig) -> int:
    """Cache rows that the question takes."""
    return _question(config, 0).rows


def _expected(
    bundle: Bundle, config: MolmoConfig, sources: Sources, question: _Question, exact: _Trace
) -> tuple[_Trace, _Trace]:
    """What the bundle has to compute, and what its precision makes of the question in torch.

    bf16 is compared twice: the graphs in fp32 with the weights of bf16, as no CPU kernel computes
    them in bf16; and torch, which does compute in bf16, with fp32.
    """
    precision = PRECISIONS[bundle.manifest.precision]
    if precision == PRECISIONS["fp32"]:
        return exact, exact
    scaling = read_scaling(bundle.directory)
    sources = kept(scaled(sources, config.decoder, scaling), precision)
    wanted = _trace(TorchRuntime(streamed_model(config, sources), question.rows), question)
    if precision.dtype != BFLOAT16:
        return wanted, wanted
    model = streamed_model(config, sources, torch.bfloat16)
    return wanted, _trace(TorchRuntime(model, question.rows), question)


def _question(config: MolmoConfig, seed: int) -> _Question:
    rng = np.random.default_rng(seed)
    image = prepare_image(rng.integers(0, 256, (480, 640, 3), np.uint8), config)
    words = rng.integers(0, config.decoder.vocab_size, WORDS + sum(STEPS))
    ids = np.concatenate([words[:1], image.tokens, words[1:WORDS]])
    return _Question(image, ids, words[WORDS:])


def _trace(reader: Reader, question: _Question) -> _Trace:
    """Asks once, then reads the words."""
    image, ids = question.image, question.ids
    features = reader.encode(image.crops, image.masks, image.index, len(ids))
    logits = [reader.prefill(ids, features)[None].copy()]
    ends = np.cumsum(STEPS)
    logits += [reader.step(words).copy() for words in np.split(question.words, ends[:-1])]
    return _Trace(features, np.concatenate(logits))


def _error(found: Floats, wanted: Floats) -> float:
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def _agreement(found: _Trace, wanted: _Trace) -> float:
    """The share of steps at which both would choose the same token."""
    return float((found.logits.argmax(-1) == wanted.logits.argmax(-1)).mean())


def _is_right(verdict: Verdict, precision: str) -> bool:
    """Whether the errors are those that the precision explains; false for NaN."""
    dtype = np.dtype(PRECISIONS[precision].dtype)
    worst = max(verdict.feature_error, verdict.logit_error)
    # Near a tie 16 bits may choose the other token; the logits still have to agree.
    return worst <= TOLERANCE[dtype.name] and (verdict.tokens_equal or dtype != np.float32)


def _complaint(verdict: Verdict, precision: str) -> str:
    tolerance = TOLERANCE[np.dtype(PRECISIONS[precision].dtype).name]
    return (
        f"the {precision} bundle differs from torch: features by {verdict.feature_error:.1e}, "
        f"logits by {verdict.logit_error:.1e} of the largest, greedy tokens "
        f"{'equal' if verdict.tokens_equal else 'differ'}; allowed is {tolerance:g}. "
        "Export with --precision fp32, and report it if that fails too"
    )
