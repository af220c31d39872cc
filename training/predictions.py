"""Keeps a model's answers in a file as they come: a run goes on where it stopped.

JSON lines; the first says whose answers these are. They can be judged again, and compared with
another model's, without the model. Knows nothing of what is right.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

About = Mapping[str, str | int]


class PredictionsError(ValueError):
    """A file of answers that is damaged, or of another run."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a model said about one example.

    seconds: from the question to the whole answer; refusal: why there is no answer, if so
    """

    id: str
    prompt: str
    text: str
    seconds: float
    refusal: str = ""


class Predictions:
    """The answers of one run, by the ids of their examples; without a path in memory alone."""

    def __init__(self, about: About, path: Path | None = None) -> None:
        """about: what must be the same for a run to go on: task, seed, model, engine."""
        self._found: dict[str, Prediction] = {}
        self._file: TextIO | None = None
        if path is None:
            return
        if path.exists() and (kept := _whole_lines(path)):
            self._found = read_predictions(path, about)._found
            os.truncate(path, len(kept))
            self._file = path.open("a", encoding="utf-8")
        else:
            self._file = path.open("w", encoding="utf-8")
            self._write(about)

    def find(self, example_id: str, prompt: str) -> Prediction | None:
        """The answer to an example, if it was asked before; raises if that was another prompt."""
        kept = self._found.get(example_id)
        if kept and kept.prompt != prompt:
            raise PredictionsError(
                f"example {example_id} was asked {kept.prompt!r} in the file of predictions and "
                f"is {prompt!r} now: the data are others, name another file"
            )
        return kept

    def add(self, prediction: Prediction) -> None:
        """Keeps an answer, at once in the file too."""
        self._found[prediction.id] = prediction
        self._write(asdict(prediction))

    def __enter__(self) -> Predictions:
        return self

    def __exit__(self, *failure: object) -> None:
        if self._file:
            self._file.close()

    def _write(self, row: Mapping[str, Any]) -> None:
        if self._file:
            self._file.write(json.dumps(row) + "\n")
            self._file.flush()


def read_predictions(path: Path, about: About) -> Predictions:
    """The answers in a file; half a line at its end, of a run that was killed, is passed over.

    raises: PredictionsError if they are of another run than `about` says
    """
    predictions = Predictions(about)
    try:
        lines = _whole_lines(path).decode("utf-8").splitlines()
        head, *rows = [json.loads(line) for line in lines]
        predictions._found = {row["id"]: Prediction(**row) for row in rows}
        found = {name: head[name] for name in about}
    except (KeyError, TypeError, ValueError) as error:
        raise PredictionsError(
            f"{path}: is no file of predictions, or damaged: {error!r}. Wanted: what "
            "molmo eval --predictions wrote"
        ) from error
    for name, wanted in about.items():
        if found[name] != wanted:
            raise PredictionsError(
                f"{path}: holds the answers of another run: its {name} is {found[name]!r}, this "
                f"run's {wanted!r}. Name another file, or remove it"
            )
    return predictions


def _whole_lines(path: Path) -> bytes:
    data = path.read_bytes()
    return data[: data.rfind(b"\n") + 1]
