"""Bundles that several tests read; exported once per run of the tests."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from functools import cache
from pathlib import Path

from recipes import GOLDEN
from tiny import save_checkpoint
from tokenizers import AddedToken, Tokenizer, models

from molmo_engine.export import export_bundle
from molmo_model.config import ImageTokens
from molmo_model.text import END_OF_TEXT


@cache
def tiny_checkpoint() -> Path:
    """Random weights, a tokenizer of bytes, one high-resolution crop."""
    return save_checkpoint(_folder() / "tiny")


@cache
def tiny_bundle(precision: str = "fp32") -> Path:
    target = _folder() / f"tiny-{precision}"
    export_bundle(tiny_checkpoint(), target, precision, capacity=768)
    return target


@cache
def golden_checkpoint() -> Path:
    """The golden tiny-qwen2 (published geometry: 12 crops of 336 px) with a stand-in tokenizer."""
    directory = _folder() / "golden"
    shutil.copytree(GOLDEN / "tiny-qwen2", directory)
    size = json.loads((directory / "config.json").read_text())["vocab_size"]
    names = ["<pad>", END_OF_TEXT, *(f"word{i}" for i in range(2, size))]
    tokenizer = Tokenizer(models.BPE({name: i for i, name in enumerate(names)}, []))
    special = [END_OF_TEXT, *ImageTokens.NAMES]
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in special])
    tokenizer.save(str(directory / "tokenizer.json"))
    return directory


@cache
def golden_bundle(precision: str = "fp32") -> Path:
    target = _folder() / f"golden-{precision}"
    export_bundle(golden_checkpoint(), target, precision)
    return target


@cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="molmo-bundles-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
