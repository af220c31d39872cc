"""Makes a training row of a record: the picture cut into crops, its annotations packed behind it.

As published: annotations in random order, their weights divided by the root of their number, the
row cut at the sequence length. Preprocessing is molmo_model's: what trains is what runs. Knows no
data set and no network.

B rows, T tokens of a row, C crops, P patches, Q pooled patches
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from molmo_model.config import MolmoConfig
from molmo_model.image import ImageInputs, prepare_image
from molmo_model.text import Prompter
from molmo_training.packing import PADDING, Annotation, Packed, collate, pack
from molmo_training.prompts import Exchange, Rng, write_caption, write_chat
from molmo_training.records import PictureStore, Record

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
SEQUENCE_LENGTH = 2304  # as published, in both stages
Form = Literal["caption", "chat"]


@dataclass(frozen=True)
class Example:
    """One row and its picture; skipped: records without a picture that it stands in for."""

    text: Packed
    image: ImageInputs
    skipped: int = 0


@dataclass(frozen=True)
class ExampleBatch:
    """Rows of equal length, as Molmo.forward reads them; padding is -1.

    crops: (B, C, P, 588), masks: (B, C, P), index: (B, C, Q)
    skipped: records without a picture that rows stand in for
    """

    text: Packed
    crops: Floats
    masks: Floats
    index: Ints
    skipped: int = 0


class ExampleMaker:
    """Turns records into examples."""

    def __init__(
        self,
        prompter: Prompter,
        config: MolmoConfig,
        form: Form,
        *,
        store: PictureStore | None = None,
        length: int = SEQUENCE_LENGTH,
    ):
        """Says how texts are written and where pictures come from.

        form:   "caption": captions and transcripts with a length, all tokens weigh the same;
                "chat": questions and answers, n annotations of a picture weigh 1 / root of n each
        store:  for pictures of the web
        length: tokens, where rows are cut
        """
        self.prompter, self.config, self.form = prompter, config, form
        self.store, self.length = store, length

    def make(self, record: Record, rng: Rng) -> Example:
        """Draws words, answers and order; raises PictureError when there is no picture."""
        rgb = record.picture.load(self.store)
        image = prepare_image(rgb, self.config)
        annotations = [record.annotations[i] for i in rng.permutation(len(record.annotations))]
        share = 1.0 if self.form == "caption" else len(annotations) ** -0.5
        packed = []
        for one in annotations:
            if self.form == "caption":
                exchanges = write_caption(one, rng)
            else:
                exchanges = write_chat(one, rng, (rgb.shape[1], rgb.shape[0]))
            packed.append(self._annotation(exchanges, one.weight * share))
        head = [self.prompter.bos, *image.tokens.tolist()]
        if len(head) >= self.length:
            raise ValueError(
                f"the picture takes {len(head)} tokens, but rows are cut at {self.length}: "
                "make them longer, or allow fewer crops"
            )
        row = pack(head, packed)
        return Example(cut(row, self.length), image)

    def _annotation(self, exchanges: Sequence[Exchange], weight: float) -> Annotation:
        """Ids and weights: answers and their ends are learned, later questions only read."""
        prompt, *later = [self.prompter.text_ids(one.prompt) for one in exchanges]
        answers = [[*self.prompter.text_ids(one.answer), self.prompter.bos] for one in exchanges]
        ids, weights = list(answers[0]), [weight] * len(answers[0])
        for question, answer in zip(later, answers[1:], strict=True):
            ids += [*question, *answer]
            weights += [0.0] * len(question) + [weight] * len(answer)
        return Annotation(prompt, ids, weights)


def cut(row: Packed, length: int) -> Packed:
    """The first tokens of a row."""
    return Packed(**{field.name: getattr(row, field.name)[:length] for field in fields(row)})


def collate_examples(examples: Sequence[Example]) -> ExampleBatch:
    """Pads examples on the right, in tokens and in crops, into one batch."""
    crops = max(len(one.image.crops) for one in examples)

    def stacked(name: str) -> npt.NDArray[Any]:
        return np.stack([_padded(getattr(one.image, name), crops) for one in examples])

    return ExampleBatch(
        text=collate([one.text for one in examples]),
        crops=stacked("crops"),
        masks=stacked("masks"),
        index=stacked("index"),
        skipped=sum(one.skipped for one in examples),
    )


def _padded(array: npt.NDArray[Any], count: int) -> npt.NDArray[Any]:
    widths = [(0, count - len(array)), *[(0, 0)] * (array.ndim - 1)]
    return np.pad(array, widths, constant_values=PADDING)
