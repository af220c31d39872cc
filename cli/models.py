"""Opens what a command line names: a bundle, a checkpoint, or the model that comes along."""

from __future__ import annotations

import os
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from molmo_engine.predictor import Predictor
    from molmo_engine.remote import RemotePredictor

SHIPPED = Path("assets") / "molmo-tiny" / "bundle"


class Backend(str, Enum):
    """What computes."""

    auto = "auto"
    tensorrt = "tensorrt"
    tensorrt_rtx = "tensorrt_rtx"
    onnxruntime = "onnxruntime"


class ModelError(ValueError):
    """What is named is no model."""


def open_model(
    directory: Path, backend: Backend | None = None, max_crops: int | None = None
) -> Predictor:
    """A bundle on this machine's best backend, or a checkpoint in torch on the CPU.

    max_crops: see open_checkpoint; an engine is built for its own number
    """
    if (directory / "manifest.json").exists():
        return open_bundle(directory, backend)
    if (directory / "config.json").exists():
        if backend:
            raise ModelError(
                f"{directory}: a checkpoint runs in torch; only bundles have backends"
            )
        return open_checkpoint(directory, max_crops)
    raise ModelError(
        f"{directory}: neither a bundle (manifest.json) nor a checkpoint (config.json)"
    )


def open_bundle(directory: Path | None, backend: Backend | None = None) -> Predictor:
    """A bundle; without a name the one that comes with molmo_ros."""
    from molmo_engine import load

    return load(directory or shipped_bundle(), (backend or Backend.auto).value)


def open_checkpoint(directory: Path, max_crops: int | None = None) -> Predictor:
    """A checkpoint in torch: slow, exact, and nothing to export first.

    max_crops: look as closely as this, if the model was trained on several crops at all
    """
    from molmo_engine.predictor import Predictor
    from molmo_model.config import MolmoConfig
    from molmo_model.text import Prompter, load_tokenizer
    from molmo_model.torch_runtime import TorchRuntime

    config = MolmoConfig.from_json(directory / "config.json")
    if max_crops and 1 < config.crops.max_crops < max_crops:
        config = replace(config, crops=replace(config.crops, max_crops=max_crops))
    prompter = Prompter(load_tokenizer(directory), config)
    runtime = TorchRuntime.from_checkpoint(directory)
    return Predictor(runtime, prompter, config, model_id=directory.resolve().name)


def open_remote(
    url: str, model: str, key_file: Path | None, ca_file: Path | None
) -> RemotePredictor:
    """A model on a server; nothing is sent before the first question."""
    from molmo_engine import connect

    try:
        return connect(url, model, key_file, ca_file)
    except ValueError as error:
        raise ModelError(str(error)) from error


def shipped_bundle() -> Path:
    """Molmo-tiny, in the checkout or in an installed ROS package."""
    checkout = Path(__file__).resolve().parent.parent
    prefixes = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    shares = [Path(prefix) / "share" / "molmo_ros" for prefix in prefixes if prefix]
    for place in (checkout, *shares):
        if (place / SHIPPED / "manifest.json").exists():
            return place / SHIPPED
    raise ModelError(f"molmo_ros was installed without {SHIPPED}: name a bundle with --bundle DIR")
