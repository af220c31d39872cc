"""Bundles that several tests read; exported once per run of the tests."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from recipes import GOLDEN
from tiny import save_checkpoint

from molmo_engine.export import export_bundle
from molmo_engine.verify import Verdict


@cache
def tiny_checkpoint() -> Path:
    """Random weights, a tokenizer of bytes, one high-resolution crop."""
    return save_checkpoint(_folder() / "tiny")


@cache
def tiny_bundle(precision: str = "fp32") -> Path:
    target = _folder() / f"tiny-{precision}"
    export_bundle(tiny_checkpoint(), target, precision, capacity=768)
    return target


def golden_bundle(precision: str = "fp32", variant: str = "tiny-qwen2") -> Path:
    """A golden checkpoint: the published geometry (12 crops of 336 px), and no tokenizer."""
    return _golden(precision, variant)[0]


def golden_verdict(precision: str, variant: str) -> Verdict:
    """What exporting that bundle said of it."""
    return _golden(precision, variant)[1]


@cache
def _golden(precision: str, variant: str) -> tuple[Path, Verdict]:
    target = _folder() / f"{variant}-{precision}"
    return target, export_bundle(GOLDEN / variant, target, precision)


@cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="molmo-bundles-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
