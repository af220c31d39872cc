"""What a task asks about a picture, and what is true of it.

Plain records: where they come from is said in the other tasks_*.py, how an answer is judged in
metrics_*.py.

M things that a question is about, H and W the picture's sides in pixels
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from molmo_model.pictures import Rgb, open_picture
from molmo_training.metrics_points import Masks, Spot

Image = Rgb | bytes | Path | Callable[[], Rgb]
Scores = dict[str, float]


class TaskError(ValueError):
    """A task whose data are not there or not what they should be."""


class UnknownTaskError(TaskError):
    """A name that no task has."""


@dataclass(frozen=True, kw_only=True, eq=False)
class EvalExample:
    """One question about one picture.

    id:       names the example within its task, the same in every run; a table gives its rows'
              numbers
    image:    pixels (H, W, 3) uint8, a file's bytes, its path, or who fetches it when it is asked
    prompt:   what the model is asked, word for word
    question: what the data set asks, without style and options
    answers:  references; one is enough, of a multiple choice it is the right option's letter or
              words
    options:  of a multiple choice, in their order
    number:   a count, or a time in minutes past twelve
    decimals: to which a numeric answer is rounded; None for words
    points:   one per thing, in percent of the picture; empty where there is no such thing
    masks:    (M, H, W), the outlines of the things, where they are known
    size:     (W, H), where points have no masks
    """

    image: Image
    prompt: str
    id: str = ""
    question: str = ""
    answers: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    number: int | None = None
    decimals: int | None = None
    points: tuple[Spot, ...] | None = None
    masks: Masks | None = None
    size: tuple[int, int] | None = None

    def rgb(self) -> Rgb:
        """The picture; raises PictureError when it cannot be had."""
        if isinstance(self.image, np.ndarray):
            return self.image
        if callable(self.image):
            return self.image()
        return open_picture(self.image)


Score = Callable[[str, EvalExample], Scores]


class Examples(Protocol):
    """Examples, made one after the other.

    n: how many scenes, rows or lines they are about; len: how many examples that makes at most
    """

    @property
    def n(self) -> int: ...

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[EvalExample]: ...


@dataclass(frozen=True, kw_only=True)
class Task:
    """A benchmark.

    about:          what it measures, in one line
    score:          judges the text of an answer; the first figure is the one to quote
    examples:       a folder of data (None = where it is published), how many (None = all), seed
    max_new_tokens: how long an answer may be
    max_crops:      how closely a model looks that was trained on several crops; None = its own
    """

    name: str
    about: str
    score: Score
    examples: Callable[[Path | None, int | None, int], Examples]
    max_new_tokens: int = 12
    max_crops: int | None = 12


def chosen(total: int, n: int | None, seed: int) -> npt.NDArray[np.int64]:
    """The numbers of n of `total` examples, drawn by a seed, in ascending order; all for None.

    A smaller n draws a part of what a larger one draws, so that a run can grow.
    """
    drawn = np.random.default_rng(seed).permutation(total)
    return np.sort(drawn[:n])
