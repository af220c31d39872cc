"""The engine of molmo_ros: exports a checkpoint to ONNX, packs it as a bundle, and runs it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from molmo_engine.predictor import Predictor

BACKENDS = ("auto", "onnxruntime")
FRAME_CACHE_MB = 256  # half a dozen pictures of a 7B model at 640x480, hundreds of a tiny one


def load(
    bundle_dir: str | os.PathLike[str],
    backend: str = "auto",
    threads: int = 0,
    frame_cache_mb: int = FRAME_CACHE_MB,
) -> Predictor:
    """Checks a bundle and makes it ready to answer.

    backend: "onnxruntime", or "auto" for the fastest that is there
    threads: of the CPU; 0 = one per physical core
    frame_cache_mb: the most MiB for the last pictures, see frames.py; 0 = remember none

    Raises BundleError for a bundle that is missing, damaged, too new or without a tokenizer.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend {backend!r}: this version has {', '.join(BACKENDS)}")
    from molmo_engine.bundle import TOKENIZER, Bundle, BundleError
    from molmo_engine.ort_runtime import OrtRuntime
    from molmo_engine.predictor import Predictor
    from molmo_model.text import Prompter, load_tokenizer

    bundle = Bundle.open(bundle_dir)
    if TOKENIZER not in bundle.manifest.files:
        raise BundleError(
            f"{bundle_dir}: has no {TOKENIZER}, it reads token ids and no words. Put one into "
            f"the checkpoint and export that again: molmo export CHECKPOINT {bundle_dir}"
        )
    prompter = Prompter(load_tokenizer(bundle.directory), bundle.config)
    runtime = OrtRuntime(bundle, threads)
    return Predictor(
        runtime,
        prompter,
        bundle.config,
        model_id=bundle.manifest.model_id,
        frame_cache_mb=frame_cache_mb,
    )
