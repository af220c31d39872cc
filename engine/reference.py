"""Reference outputs in a bundle: with them a robot checks its engine by itself, without torch.

Recorded at export, by a runtime that was compared with torch just before: a picture, a prompt, and
the best logits of each token that followed. Checked through any runtime, so also through the one
that will run. Finds an engine, driver or compiler that computes something else; how good the model
is, it does not know.

T tokens of the prompt, R = 1 + STEP rows of logits, K logits kept of each row, V vocabulary
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from safetensors.numpy import load_file, save_file

from molmo_engine.bundle import FORMAT, Bundle, BundleError, read_manifest, sha256, write_manifest
from molmo_engine.runtime import STEP, Floats, Ints, Runtime
from molmo_model.image import ImageInputs, prepare_image
from molmo_model.pictures import open_picture

PICTURE, OUTPUTS = "reference.png", "reference.safetensors"
SIZE, BLOCK = (336, 448), 56  # pixels: height and width of the picture, side of a coloured block
WORDS = 9  # random tokens beside those of the picture
KEPT = 16
# Share of the largest logit by which an engine may differ. fp32: other summation orders; fp16: its
# 11 bits through all layers; else bfloat16's 8 bits, or 8 bits of what meets rounded weights.
TOLERANCE = {"fp32": 2e-4, "fp16": 2e-2}
ROUGH = 5e-2


class DeviationError(RuntimeError):
    """An engine that does not compute what was recorded."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """How far an engine is from what was recorded."""

    engine: str
    tolerance: float
    feature_error: float  # of the image features, as share of the strongest
    logit_error: float  # as share of the largest logit
    tokens_equal: bool  # every greedy token


def record_reference(bundle_dir: str | os.PathLike[str], runtime: Runtime) -> None:
    """Stores in a bundle what a runtime that is known to be right makes of a picture."""
    directory = Path(bundle_dir)
    manifest = read_manifest(directory)
    config = Bundle(directory, manifest).config
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (SIZE[0] // BLOCK, SIZE[1] // BLOCK, 3), np.uint8)
    rgb = blocks.repeat(BLOCK, 0).repeat(BLOCK, 1)
    Image.fromarray(rgb).save(directory / PICTURE)
    image = prepare_image(rgb, config)
    words = rng.integers(0, config.decoder.vocab_size, WORDS + STEP)
    ids, answer = np.concatenate([words[:1], image.tokens, words[1:WORDS]]), words[WORDS:]
    strength, first = _read(runtime, image, ids)
    logits = np.concatenate([first, runtime.step(answer)])
    best = np.ascontiguousarray(np.argsort(-logits, axis=1)[:, :KEPT])
    recorded = {
        "ids": ids,  # (T,)
        "answer": answer,  # (STEP,) tokens that are read then, chosen by nobody
        "strength": strength,  # (T,)
        "best": best,  # (R, K) tokens, the likeliest first
        "logits": np.take_along_axis(logits, best, 1),  # (R, K)
        "largest": np.abs(logits).max(keepdims=True)[0],  # (1,)
    }
    save_file(recorded, directory / OUTPUTS)
    hashes = {name: sha256(directory / name) for name in (PICTURE, OUTPUTS)}
    write_manifest(directory, replace(manifest, files={**manifest.files, **hashes}, format=FORMAT))


def check_reference(bundle: Bundle, runtime: Runtime) -> Check:
    """Compares a runtime with the recorded outputs; raises DeviationError, or BundleError."""
    if not {PICTURE, OUTPUTS} <= bundle.manifest.files.keys():
        raise BundleError(
            f"{bundle.directory}: has no recorded outputs, an older version exported it. "
            f"Export it again: molmo export CHECKPOINT {bundle.directory}; or compare it with "
            f"its checkpoint: molmo verify {bundle.directory} --checkpoint CHECKPOINT"
        )
    recorded = load_file(bundle.path(OUTPUTS))
    image = prepare_image(open_picture(bundle.path(PICTURE)), bundle.config)
    if not np.array_equal(image.tokens, recorded["ids"][1 : 1 - WORDS]):
        raise DeviationError(
            f"{bundle.directory}: this version of molmo_ros cuts pictures in another way than the "
            f"one that exported it. Export it again: molmo export CHECKPOINT {bundle.directory}"
        )
    check, is_clearly_wrong = _compare(bundle, runtime, image, recorded)
    errors = (check.feature_error, check.logit_error)
    if is_clearly_wrong or not all(error <= check.tolerance for error in errors):  # also NaN
        raise DeviationError(_complaint(bundle.directory, check))
    return check


def _compare(
    bundle: Bundle,
    runtime: Runtime,
    image: ImageInputs,
    recorded: Mapping[str, npt.NDArray[Any]],
) -> tuple[Check, bool]:
    """The check, and whether a token is another one where the recorded one led clearly."""
    ids, best, largest = recorded["ids"], recorded["best"], recorded["largest"][0]
    strength, first = _read(runtime, image, ids)
    at_once = runtime.step(recorded["answer"]).copy()
    runtime.rewind(len(ids))
    one_by_one = [runtime.step(recorded["answer"][i : i + 1]).copy() for i in range(STEP)]
    runs = [np.concatenate([first, at_once]), np.concatenate([first, *one_by_one])]
    errors = [
        _error(np.take_along_axis(logits, best, 1), recorded["logits"], largest) for logits in runs
    ]
    differs = np.any([logits.argmax(1) != best[:, 0] for logits in runs], axis=0)
    check = Check(
        engine=runtime.name,
        tolerance=TOLERANCE.get(bundle.manifest.precision, ROUGH),
        feature_error=_error(strength, recorded["strength"], recorded["strength"].max()),
        logit_error=float(np.max(errors)),  # NaN if any is
        tokens_equal=not differs.any(),
    )
    lead = (recorded["logits"][:, 0] - recorded["logits"][:, 1]) / largest
    # Near a tie two right engines may choose differently; then the logits still have to agree.
    return check, bool((differs & (lead > 2 * check.tolerance)).any())


def _read(runtime: Runtime, image: ImageInputs, ids: Ints) -> tuple[Floats, Floats]:
    """Mean magnitude of the picture's features at each token (T,), logits behind them (1, V)."""
    features = runtime.encode(image.crops, image.masks, image.index, len(ids))
    strength: Floats = np.abs(features).mean(1)
    return strength, runtime.prefill(ids, features)[None].copy()


def _error(found: Floats, wanted: Floats, largest: np.float32) -> float:
    return float(np.abs(found - wanted).max() / largest)


def _complaint(directory: Path, check: Check) -> str:
    part = "decoder" if check.feature_error <= check.tolerance else "picture"
    return (
        f"{directory}: {check.engine} does not compute what was recorded, from the {part} on: "
        f"image features differ by {check.feature_error:.1e}, logits by {check.logit_error:.1e}, "
        f"allowed is {check.tolerance:g}. Do not use it: build its plans again (molmo build "
        f"{directory}), or take another backend (--backend onnxruntime)"
    )
