"""A bundle: the directory that a robot is given, checked before anything in it is used.

`manifest.json` says what the other files are: their sha256, the graphs with their inputs and
outputs, the plans with what they were built by and for, precision and cache capacity. The hashes
find what was damaged or exchanged by itself; they are no signature of whoever wrote the manifest.
Knows no engine: it hands out paths and specs.
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

FORMAT = 2  # since 2 with plans
READS = (1, FORMAT)
MANIFEST = "manifest.json"
CONFIG, TOKENIZER = "config.json", "tokenizer.json"
EMBEDDING, WEIGHTS = "embedding.safetensors", "weights.safetensors"
ALWAYS = (CONFIG, EMBEDDING, WEIGHTS)  # beside the graphs
PLANS = "plans"  # the directory of what was compiled for one kind of machine


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
class Plan:
    """One graph, compiled: of use to this builder's version on this architecture alone."""

    file: str  # within PLANS
    part: str  # of the graph it was built from
    dialect: str
    builder: str  # with its version: "tensorrt_rtx 1.7.1.116"
    architecture: str  # "SM87"
    weights: str  # "embedded", or "external": given to the plan as inputs


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a bundle says of itself."""

    model_id: str
    precision: str  # of weights and caches, one of export_rounding.PRECISIONS
    capacity: int  # rows of the decoder cache
    graphs: tuple[GraphSpec, ...]
    files: Mapping[str, str]  # name -> sha256
    plans: tuple[Plan, ...] = ()
    format: int = FORMAT

    def __post_init__(self) -> None:
        if not isinstance(self.capacity, int) or self.capacity < 1:
            raise ValueError(f"capacity {self.capacity!r}: wanted a number of rows")
        for plan in self.plans:
            if plan.file not in self.files or Path(plan.file).parts[:1] != (PLANS,):
                raise ValueError(f"plan {plan.file!r}: not below {PLANS}/, or without a hash")

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Manifest:
        """From JSON; raises ValueError, KeyError or TypeError for anything but a manifest."""
        graphs = tuple(_graph(graph) for graph in raw["graphs"])
        plans = tuple(Plan(**plan) for plan in raw.get("plans", ()))
        return cls(**{**raw, "graphs": graphs, "plans": plans, "files": dict(raw["files"])})


class Bundle:
    """A checked bundle."""

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        self.directory = directory
        self.manifest = manifest
        self.config = MolmoConfig.from_json(directory / CONFIG)

    @classmethod
    def open(cls, directory: str | os.PathLike[str]) -> Bundle:
        """Reads the manifest and compares every file with it; raises BundleError.

        Plans are compared when they are chosen, see plans.py: one that is damaged must not stand
        in the way of building it again.
        """
        directory = Path(directory)
        manifest = read_manifest(directory)
        needed, plans = set(ALWAYS), {plan.file for plan in manifest.plans}
        needed |= {graph.file for graph in manifest.graphs}
        for name in sorted((manifest.files.keys() - plans) | needed):
            check_file(directory, name, manifest.files.get(name))
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


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Puts a manifest in place: whole, or the one before stays."""
    part = directory / f".{MANIFEST}.part"
    with part.open("w") as file:
        file.write(manifest.to_json())
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, directory / MANIFEST)


def _graph(raw: dict[str, Any]) -> GraphSpec:
    tensors = {
        side: tuple(TensorSpec(**{**spec, "shape": tuple(spec["shape"])}) for spec in raw[side])
        for side in ("inputs", "outputs")
    }
    return GraphSpec(**{**raw, **tensors})


def read_manifest(directory: Path) -> Manifest:
    """What a bundle says of itself, no file compared with it yet; raises BundleError."""
    path = directory / MANIFEST
    if not path.is_file():
        raise BundleError(f"{directory}: is no bundle, it has no {MANIFEST}. {_repair(directory)}")
    try:
        raw = json.loads(path.read_text())
        _check_format(path, raw.get("format"))
        return Manifest.of(raw)
    except BundleError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{path}: is damaged ({error!r}). {_repair(directory)}") from error


def _check_format(path: Path, found: object) -> None:
    if found in READS:
        return
    if isinstance(found, int) and found > FORMAT:
        raise BundleError(
            f"{path}: has bundle format {found}, this version reads {FORMAT}. "
            f"Update molmo_ros, or export again: molmo export CHECKPOINT {path.parent}"
        )
    raise BundleError(
        f"{path}: is of other software, not a bundle's: its format is {found!r}. "
        f"{_repair(path.parent)}"
    )


def check_file(directory: Path, name: str, wanted: str | None) -> None:
    """Raises BundleError unless a file of a bundle is there, whole and unchanged."""
    path, repair = directory / name, _repair(directory, name)
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise BundleError(f"{directory}: names a file outside itself: {name!r}. Do not use it")
    if wanted is None:
        raise BundleError(f"{directory}: its {MANIFEST} has no hash of {name}. {repair}")
    if not path.is_file():
        raise BundleError(f"{path}: is missing. {repair}")
    found = sha256(path)
    if found != wanted:
        raise BundleError(
            f"{path}: is damaged or was changed: its sha256 begins {found[:12]}, the manifest "
            f"wants {str(wanted)[:12]}. {repair}"
        )


def _repair(directory: Path, name: str = "") -> str:
    """The command that makes a file again; a plan is made on the machine that runs it."""
    if Path(name).parts[:1] == (PLANS,):
        return f"Build it again: molmo build {directory}"
    return f"Copy the bundle again, or export it: molmo export CHECKPOINT {directory}"
