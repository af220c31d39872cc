"""Shows a model pictures and questions, and keeps what its matrices read meanwhile.

A calibration directory holds pictures, and metadata.jsonl with one question a line:
    {"file_name": "0001.jpg", "prompt": "Point to the mug.", "answer": "<point x=..."}
`answer` may be missing: a recorded one adds markup and coordinates to what is looked at. Without
metadata.jsonl every picture is asked to point to all objects.

K inputs of a matrix, n tokens kept of them, T tokens of a question with its answer
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from molmo_engine.export_checkpoint import Sources, streamed_model
from molmo_engine.export_range import watch_range
from molmo_engine.export_scaling import Inputs, folds
from molmo_engine.export_weights import ExportError
from molmo_model.config import MolmoConfig
from molmo_model.image import prepare_image
from molmo_model.pictures import open_picture
from molmo_model.text import Prompter, load_tokenizer
from molmo_model.torch_runtime import TorchRuntime

QUESTIONS = "metadata.jsonl"
PICTURES = {".jpg", ".jpeg", ".png", ".webp"}
POINTING = "Point to all objects."
MOST = 64  # questions that are looked at
KEPT = 512  # tokens of all questions together that a matrix is judged by


@dataclass(frozen=True)
class Example:
    """A picture, a question about it, and what was answered, or nothing."""

    picture: Path
    prompt: str
    answer: str = ""


@dataclass(frozen=True)
class Calibration:
    """What a model read on the pictures.

    inputs: by module
    ranges: by module, see export_range.watch_range
    """

    inputs: dict[str, Inputs]
    ranges: dict[str, float]


def read_examples(directory: Path) -> list[Example]:
    """The questions of a calibration directory, at most MOST of them, evenly chosen."""
    path = directory / QUESTIONS
    if path.exists():
        found = list(_lines(path))
    else:
        pictures = sorted(p for p in directory.iterdir() if p.suffix.lower() in PICTURES)
        found = [Example(picture, POINTING) for picture in pictures]
    if not found:
        raise ExportError(
            f"{directory}: no pictures to calibrate with; put some there of what the robot sees "
            f"({', '.join(sorted(PICTURES))}), best with questions in {QUESTIONS}"
        )
    chosen = np.linspace(0, len(found) - 1, min(MOST, len(found))).astype(int)
    return [found[i] for i in chosen]


def look(
    checkpoint: Path, config: MolmoConfig, sources: Sources, examples: Sequence[Example]
) -> Calibration:
    """Reads every question once; the checkpoint needs a tokenizer."""
    prompter = Prompter(load_tokenizer(checkpoint), config)
    model = streamed_model(config, sources)
    ranges, watcher = watch_range(model), _Watcher(-(-KEPT // len(examples)))
    for fold in folds(config.decoder):
        module = model.get_submodule(fold.name)
        module.register_forward_pre_hook(partial(watcher.note, fold.name))
    for example in examples:
        image = prepare_image(open_picture(example.picture), config)
        ids = prompter.encode(example.prompt, image.tokens)
        if example.answer:
            ids = np.concatenate([ids, prompter.text_ids(f" {example.answer}")])
        runtime = TorchRuntime(model, len(ids))
        runtime.prefill(ids, runtime.encode(image.crops, image.masks, image.index, len(ids)))
    return Calibration(watcher.inputs(), ranges)


class _Watcher:
    """Collects the inputs of modules: some tokens of each question, the mean of all."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self._rows: dict[str, list[Tensor]] = {}
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def note(self, name: str, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        """Called before a module computes; half of what is kept are the last tokens, the text."""
        rows = inputs[0].flatten(0, -2)  # (T, K)
        if not len(rows):  # an expert that nobody chose
            return
        spread = torch.linspace(0, len(rows) - 1, min(len(rows), self.tokens - self.tokens // 2))
        last = torch.arange(max(0, len(rows) - self.tokens // 2), len(rows))
        chosen = torch.cat([spread.long(), last]).unique()
        self._rows.setdefault(name, []).append(rows[chosen].clone())
        self._sums[name] = self._sums.get(name, 0) + rows.abs().sum(0)
        self._counts[name] = self._counts.get(name, 0) + len(rows)

    def inputs(self) -> dict[str, Inputs]:
        return {
            name: Inputs(torch.cat(rows).numpy(), (self._sums[name] / self._counts[name]).numpy())
            for name, rows in self._rows.items()
        }


def _lines(path: Path) -> Iterator[Example]:
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            raw = json.loads(line)
            picture, prompt = path.parent / raw["file_name"], raw["prompt"]
        except (ValueError, KeyError, TypeError) as error:
            raise ExportError(
                f"{path}, line {number}: wanted "
                '{"file_name": "0001.jpg", "prompt": "Point to the mug."} '
                f"({error!r})"
            ) from error
        yield Example(picture, prompt, raw.get("answer", ""))
