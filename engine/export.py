"""Turns a checkpoint directory into a bundle that a robot can run without torch.

Writes the dialects of the graphs over one weight file, compares them with torch through ONNX
Runtime, and only then lets the bundle appear: whole, or not at all. Weights pass through one
tensor at a time: the checkpoint may be larger than the memory.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from molmo_engine.bundle import (
    CONFIG,
    EMBEDDING,
    MANIFEST,
    TOKENIZER,
    WEIGHTS,
    GraphSpec,
    Manifest,
    sha256,
)
from molmo_engine.export_calibration import look, read_examples
from molmo_engine.export_checkpoint import Sources, read_checkpoint, streamed_model
from molmo_engine.export_decoder import write_decoder
from molmo_engine.export_experts import Mixing
from molmo_engine.export_fused import Fused
from molmo_engine.export_ops import Compat, Dialect, Native
from molmo_engine.export_range import check_range
from molmo_engine.export_rounding import BFLOAT16, PRECISIONS, kept
from molmo_engine.export_scaling import Scaling, save_scaling, scaled, search
from molmo_engine.export_vision import write_vision
from molmo_engine.export_weights import ExportError, WeightFile, joined
from molmo_engine.reference import record_reference
from molmo_engine.verify import Verdict, rows_needed, verify_bundle
from molmo_model.config import CropConfig, MolmoConfig
from molmo_model.text import Prompter, load_tokenizer
from molmo_model.torch_runtime import TorchRuntime

TEXT_ROOM = 1024  # tokens kept for question and answer beside the largest picture
CAPACITY_STEP = 256
TOKENIZERS = ("tokenizer.json", "vocab.json")  # what a checkpoint may have


def export_bundle(
    checkpoint_dir: str | os.PathLike[str],
    bundle_dir: str | os.PathLike[str],
    precision: str = "fp16",
    capacity: int | None = None,
    calibrate: str | os.PathLike[str] | None = None,
) -> Verdict:
    """Writes `bundle_dir`, replacing a bundle that is there; returns how close it is to torch.

    precision: one of PRECISIONS: "fp32", "fp16" or "bf16" of weights and caches; "int8" or "int4"
               of the decoder's matrices beside fp16, "int8-fp32" or "int4-fp32" beside fp32
    capacity:  rows of the decoder cache, static in the graph; None = what the config can need
    calibrate: a directory of pictures and questions by which rounded matrices are scaled

    Raises ExportError for what cannot be exported as asked, RangeError for activations beyond
    fp16, and VerifyError when the graphs differ from torch; then nothing is left behind.
    """
    checkpoint, target = Path(checkpoint_dir), Path(bundle_dir).absolute()
    if precision not in PRECISIONS:
        raise ExportError(f"precision {precision!r}: wanted one of {', '.join(PRECISIONS)}")
    if calibrate is not None and PRECISIONS[precision].rounding is None:
        raise ExportError(f"precision {precision!r} rounds nothing that pictures could calibrate")
    _check_target(target)
    config, sources = read_checkpoint(checkpoint)
    capacity = needed_capacity(config) if capacity is None else capacity
    _check_capacity(config, capacity)
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        if calibrate is not None:
            scaling = _calibrated(checkpoint, config, sources, precision, Path(calibrate))
            save_scaling(staging, scaling)
            sources = scaled(sources, config.decoder, scaling)
        _write(checkpoint, staging, config, sources, precision, capacity)
        verdict = verify_bundle(staging, checkpoint)
        model = streamed_model(config, kept(sources, PRECISIONS[precision]))
        # The recorded picture is smaller than the compared one, so its rows are enough.
        record_reference(staging, TorchRuntime(model, rows_needed(config)))
        _publish(staging, target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return verdict


def needed_capacity(config: MolmoConfig) -> int:
    """Cache rows for the largest picture and a long talk, within the model's positions."""
    rows = 1 + largest_image(config.crops) + TEXT_ROOM
    return min(config.decoder.max_positions, -(-rows // CAPACITY_STEP) * CAPACITY_STEP)


def largest_image(crops: CropConfig) -> int:
    """The most tokens that a picture of any size can take."""
    own, margin = crops.window_px // crops.patch // crops.pool, sum(crops.margins) // crops.pool
    tilings = [
        (rows, columns)
        for rows in range(1, crops.max_crops + 1)
        for columns in range(1, crops.max_crops // rows + 1)
    ]
    fine = max((i * own + margin) * (j * own + margin + 1) for i, j in tilings)
    return crops.pooled_per_side * (crops.pooled_per_side + 1) + 2 + fine + 2


def _check_target(target: Path) -> None:
    is_free = not target.exists() or (target.is_dir() and not any(target.iterdir()))
    if not is_free and not (target / MANIFEST).is_file():
        raise ExportError(f"{target}: is there and no bundle; choose another directory")


def _check_capacity(config: MolmoConfig, capacity: int) -> None:
    smallest, largest = 1 + largest_image(config.crops) + 1, config.decoder.max_positions
    if not smallest < capacity <= largest:
        raise ExportError(
            f"capacity {capacity}: a picture of this model takes up to {smallest} cache rows "
            f"before the question, and it knows {largest} positions; choose between the two"
        )


def _calibrated(
    checkpoint: Path, config: MolmoConfig, sources: Sources, precision: str, pictures: Path
) -> Scaling:
    calibration = look(checkpoint, config, sources, read_examples(pictures))
    check_range(calibration.ranges, precision)
    return search(sources, config.decoder, calibration.inputs, PRECISIONS[precision])


def _write(
    checkpoint: Path,
    bundle: Path,
    config: MolmoConfig,
    sources: Sources,
    precision: str,
    capacity: int,
) -> None:
    """Fills a directory with everything a bundle has, the manifest last."""
    _copy_tokenizer(checkpoint, bundle, config)
    config.to_json(bundle / CONFIG)
    table = [sources[f"transformer.wte.{name}"] for name in ("embedding", "new_embedding")]
    embedding = WeightFile(PRECISIONS[precision].dtype)
    embedding.add("embedding", joined(table))
    embedding.write(bundle / EMBEDDING)
    graphs = _write_graphs(bundle, sources, config, precision, capacity)
    files = {path.name: sha256(path) for path in sorted(bundle.iterdir())}
    manifest = Manifest(
        model_id=f"{checkpoint.resolve().name}-{files[WEIGHTS][:8]}",
        precision=precision,
        capacity=capacity,
        graphs=graphs,
        files=files,
    )
    (bundle / MANIFEST).write_text(manifest.to_json())


def _copy_tokenizer(checkpoint: Path, bundle: Path, config: MolmoConfig) -> None:
    """A checkpoint without one becomes a bundle that reads and writes token ids alone."""
    if any((checkpoint / name).exists() for name in TOKENIZERS):
        tokenizer = load_tokenizer(checkpoint)
        Prompter(tokenizer, config)  # raises when the tokenizer is another model's
        tokenizer.save(str(bundle / TOKENIZER))


def _write_graphs(
    bundle: Path, sources: Sources, config: MolmoConfig, precision: str, capacity: int
) -> tuple[GraphSpec, ...]:
    weights = WeightFile(PRECISIONS[precision].dtype)
    graphs: list[Dialect] = []
    # With experts a prompt has a graph of its own: it needs them all.
    decoders = {"decoder": Mixing.CHOSEN}
    if config.decoder.experts:
        decoders["prefill"] = Mixing.ALL
    dialects: tuple[type[Dialect], ...] = (Native, Compat, Fused)
    if weights.dtype == BFLOAT16:  # ONNX Runtime, which Fused is for, has no kernels of it
        dialects = (Native, Compat)
    for dialect in dialects:
        graphs.append(dialect("vision", weights))
        write_vision(graphs[-1], sources, config)
        for part, mixing in decoders.items():
            graphs.append(dialect(part, weights, PRECISIONS[precision].rounding))
            write_decoder(graphs[-1], sources, config.decoder, capacity, mixing)
    spans = weights.write(bundle / WEIGHTS)
    for graph in graphs:
        graph.save(bundle / _file(graph), WEIGHTS, spans)
    return tuple(
        GraphSpec(
            file=_file(graph),
            part=graph.name,
            dialect=graph.dialect,
            opset=graph.opset,
            inputs=tuple(graph.inputs),
            outputs=tuple(graph.outputs),
        )
        for graph in graphs
    )


def _file(graph: Dialect) -> str:
    suffix = "" if graph.dialect == "native" else f".{graph.dialect}"
    return f"{graph.name}{suffix}.onnx"


def _publish(staging: Path, target: Path) -> None:
    """Flushes everything to the disk, then moves it into place."""
    staging.chmod(0o755)  # temporary files and directories are private
    for path in staging.iterdir():
        path.chmod(0o644)
        _flush(path)
    _flush(staging)
    if target.exists():
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as old:
            os.rename(target, Path(old) / "old")
            os.rename(staging, target)
    else:
        os.rename(staging, target)
    _flush(target.parent)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)
