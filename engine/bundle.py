"""A bundle: the directory that a robot is given, checked before anything in it is used.

`manifest.json` says what the other files are: their sha256, the graphs with their inputs and
outputs, precision and cache capacity. Knows no engine: it hands out paths and specs.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from molmo_model.config import MolmoConfig

FORMAT = 1
MANIFEST = "manifest.json"
CONFIG, TOKENIZER = "config.json", "tokenizer.json"
EMBEDDING, WEIGHTS = "embedding.safetensors", "weights.safetensors"
ALWAYS = (CONFIG, EMBEDDING, WEIGHTS)  # beside the graphs


class BundleError(ValueError):
    """A bundle that is missing, damaged or made for other software."""


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """An input or output of a graph; a word in the shape is a dynamic dimension."""

    name: str
    shape: tuple[int | str, ...]
    dtype: str


@dataclass(frozen=True, kw_only=True)
class GraphSpec:
    """One ONNX file."""

    file: str
    part: str  # "vision", "decoder", or "prefill": the decoder for prompts of experts
    dialect: str  # "native" or "compat"
    opset: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a bundle says of itself."""

    model_id: str
    precision: str  # of weights and caches, one of export_rounding.PRECISIONS
    capacity: int  # rows of the decoder cache
    graphs: tuple[GraphSpec, ...]
    files: Mapping[str, str]  # name -> sha256
    format: int = FORMAT

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Raises ValueError, KeyError or TypeError for anything but a manifest of this format."""
        raw = json.loads(text)
        graphs = tuple(_graph(graph) for graph in raw["graphs"])
        return cls(**{**raw, "graphs": graphs, "files": dict(raw["files"])})


class Bundle:
    """A checked bundle."""

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        self.directory = directory
        self.manifest = manifest
        self.config = MolmoConfig.from_json(directory / CONFIG)

    @classmethod
    def open(cls, directory: str | os.PathLike[str]) -> Bundle:
        """Reads the manifest and compares every file with it; raises BundleError."""
        directory = Path(directory)
        manifest = _read_manifest(directory)
        needed = {*ALWAYS, *(graph.file for graph in manifest.graphs)}
        for name in sorted(needed | manifest.files.keys()):
            _check_file(directory, name, manifest.files.get(name))
        return cls(directory, manifest)

    def path(self, name: str) -> Path:
        return self.directory / name

    def has_part(self, part: str) -> bool:
        """Whether there are graphs of this part."""
        return any(graph.part == part for graph in self.manifest.graphs)

    def graph(self, part: str, dialect: str) -> GraphSpec:
        """The graph of a part in a dialect; raises BundleError without it."""
        for graph in self.manifest.graphs:
            if (graph.part, graph.dialect) == (part, dialect):
                return graph
        raise BundleError(
            f"{self.directory}: has no {part} graph in the {dialect} dialect. "
            + _repair(self.directory)
        )


def sha256(path: Path) -> str:
    """The hash of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 22):
            digest.update(piece)
    return digest.hexdigest()


def _graph(raw: dict[str, Any]) -> GraphSpec:
    tensors = {
        side: tuple(TensorSpec(**{**spec, "shape": tuple(spec["shape"])}) for spec in raw[side])
        for side in ("inputs", "outputs")
    }
    return GraphSpec(**{**raw, **tensors})


def _read_manifest(directory: Path) -> Manifest:
    path = directory / MANIFEST
    if not path.is_file():
        raise BundleError(f"{directory}: is no bundle, it has no {MANIFEST}. {_repair(directory)}")
    try:
        text = path.read_text()
        found = json.loads(text).get("format")
        if found != FORMAT:
            raise BundleError(
                f"{path}: has bundle format {found}, this version reads {FORMAT}. "
                f"Update molmo_ros, or export again: molmo export CHECKPOINT {directory}"
            )
        return Manifest.from_json(text)
    except BundleError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{path}: is damaged ({error!r}). {_repair(directory)}") from error


def _check_file(directory: Path, name: str, wanted: str | None) -> None:
    path = directory / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise BundleError(f"{directory}: names a file outside itself: {name!r}. Do not use it")
    if wanted is None:
        raise BundleError(
            f"{directory}: its {MANIFEST} has no hash of {name}. {_repair(directory)}"
        )
    if not path.is_file():
        raise BundleError(f"{path}: is missing. {_repair(directory)}")
    found = sha256(path)
    if found != wanted:
        raise BundleError(
            f"{path}: is damaged or was changed: its sha256 begins {found[:12]}, the manifest "
            f"wants {str(wanted)[:12]}. {_repair(directory)}"
        )


def _repair(directory: Path) -> str:
    return f"Copy the bundle again, or export it: molmo export CHECKPOINT {directory}"
