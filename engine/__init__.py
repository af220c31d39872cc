"""The engine of molmo_ros: exports a checkpoint to ONNX, packs it as a bundle, and runs it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from molmo_engine.predictor import Predictor
    from molmo_engine.remote import RemotePredictor

FRAME_CACHE_MB = 256  # half a dozen pictures of a 7B model at 640x480, hundreds of a tiny one


def load(
    bundle_dir: str | os.PathLike[str],
    backend: str = "auto",
    threads: int = 0,
    frame_cache_mb: int = FRAME_CACHE_MB,
) -> Predictor:
    """Checks a bundle and makes it ready to answer.

    backend: "tensorrt", "tensorrt_rtx" or "onnxruntime"; "auto" = the first of them that has a GPU
             and a plan, where it takes one
    threads: of the CPU; 0 = one per physical core
    frame_cache_mb: the most MiB for the last pictures, see frames.py; 0 = remember none

    Raises BundleError for a bundle that is missing, damaged, too new or without a tokenizer.
    """
    from molmo_engine.backends import open_runtime
    from molmo_engine.bundle import TOKENIZER, Bundle, BundleError
    from molmo_engine.predictor import Predictor
    from molmo_model.text import Prompter, load_tokenizer

    bundle = Bundle.open(bundle_dir)
    if TOKENIZER not in bundle.manifest.files:
        raise BundleError(
            f"{bundle_dir}: has no {TOKENIZER}, it reads token ids and no words. Put one into "
            f"the checkpoint and export that again: molmo export CHECKPOINT {bundle_dir}"
        )
    prompter = Prompter(load_tokenizer(bundle.directory), bundle.config)
    runtime = open_runtime(bundle, backend, threads)
    return Predictor(
        runtime,
        prompter,
        bundle.config,
        model_id=bundle.manifest.model_id,
        frame_cache_mb=frame_cache_mb,
    )


def connect(
    url: str,
    model: str,
    key_file: str | os.PathLike[str] | None = None,
    ca_file: str | os.PathLike[str] | None = None,
    picture: str = "jpeg",
) -> RemotePredictor:
    """A model on a server that speaks OpenAI's chat protocol, such as vLLM; sends nothing yet.

    url:      like "https://gpu.lan:8000/v1"
    model:    as the server calls it
    key_file: holds the server's key; None = the variable MOLMO_API_KEY, or no key at all
    ca_file:  certificates (PEM) to trust instead of the system's
    picture:  how pictures travel: "jpeg" of quality 95, or "png", which is exact

    Raises ValueError for an address, key or certificate that cannot be one.
    """
    from pathlib import Path

    from molmo_engine.remote import RemotePredictor
    from molmo_engine.remote_http import KEY_VARIABLE, Server

    written = os.environ.get(KEY_VARIABLE) if key_file is None else Path(key_file).read_text()
    key = (written or "").strip() or None
    server = Server(url=url, key=key, ca_file=None if ca_file is None else Path(ca_file))
    return RemotePredictor(server, model, picture)
