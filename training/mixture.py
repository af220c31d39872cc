"""Draws training examples from many data sets, at published rates, as a function of a number.

Example number i of a run is always the same: the sets are drawn with replacement, each goes
through its records in an order of its own, and through another in each epoch. So a run resumes at
any step, and processes and loader workers share it by sharing numbers. Knows no columns and no
network.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from molmo_model.pictures import PictureError
from molmo_training.examples import Example, ExampleMaker
from molmo_training.prompts import Rng
from molmo_training.records import Record

log = logging.getLogger(__name__)
Ints = npt.NDArray[np.int64]
EPOCH_SEED = 1771  # between the orders of two epochs, as published
BLOCK = 4096  # examples whose sets are drawn together
TRIES = 16  # records in a row without a picture, before we give up
_SEEDS = 2**32


class MixtureError(ValueError):
    """A mixture that cannot be drawn from."""


@dataclass(frozen=True)
class Group:
    """Sets that share a rate of the examples.

    sizes: of each set, by the root of which it shares in the rate; None counts its pictures
    """

    rate: float
    sizes: Mapping[str, int | None]


CAPTIONS = (Group(1.0, {"pixmo_cap_with_transcripts": None}),)  # the first stage
CAPTIONS_SEED, INSTRUCTIONS_SEED = 95818, 50189  # of the order of data, as published
INSTRUCTIONS = (  # the second stage
    Group(
        0.15,
        {
            "pixmo_ask_model_anything": None,
            "pixmo_cap": 50_000,
            "pixmo_cap_qa": None,
            "pixmo_pointing_explanations": None,
        },
    ),
    Group(
        0.50,
        {
            "coco_2014_vqa_multi": None,
            "text_vqa": None,
            "okvqa": None,
            "chart_qa_weighted": None,
            "doc_qa": None,
            "info_qa": None,
            "ai2_diagram": None,
            "a_okvqa_mc": None,
            "a_okvqa_da": None,
            "android_control": None,
            "science_qa_img": None,
            "tabwmp_da": None,
            "st_qa": None,
            "tally_qa": None,
            "pixmo_docs_charts": None,
            "pixmo_docs_tables": None,
            "pixmo_docs_other": None,
            "pixmo_docs_diagrams": None,
            "dv_qa": 10_000,
            "figure_qa": 10_000,
            "plot_qa": 20_000,
        },
    ),
    Group(
        0.35,
        {
            "pixmo_points": None,
            "pixmo_points_counting": None,
            "pixmo_points_high_freq": None,
            "pixmo_points_high_freq_counting": None,
            "pixmo_count": None,
            "pixmo_count_counting": None,
        },
    ),
)


def names_of(groups: Sequence[Group]) -> list[str]:
    """The sets of a mixture."""
    return [name for group in groups for name in group.sizes]


def rates(groups: Sequence[Group], sizes: Mapping[str, int]) -> dict[str, float]:
    """The share of each set in the examples; sizes: how many pictures each set has."""
    found: dict[str, float] = {}
    total = sum(group.rate for group in groups)
    for group in groups:
        if missing := [name for name in group.sizes if name not in sizes]:
            raise MixtureError(
                f"the mixture draws from {', '.join(missing)}, which were not given: open them, "
                "or take them out of the mixture with without()"
            )
        roots = {name: (size or sizes[name]) ** 0.5 for name, size in group.sizes.items()}
        for name, root in roots.items():
            found[name] = group.rate / total * root / sum(roots.values())
    return found


def without(groups: Sequence[Group], names: Sequence[str]) -> tuple[Group, ...]:
    """The mixture without some sets; the others of their group take over what it is due."""
    if unknown := set(names) - set(names_of(groups)):
        raise MixtureError(f"the mixture has no {', '.join(sorted(unknown))}")
    left = [
        Group(g.rate, {name: size for name, size in g.sizes.items() if name not in names})
        for g in groups
    ]
    return tuple(group for group in left if group.sizes)


@dataclass(frozen=True)
class Draw:
    """Which record of which set an example is made of; seed: of its words, answers and order."""

    name: str
    record: int
    seed: int


class Order:
    """Goes through the records of a set again and again, each time in another order."""

    def __init__(self, length: int, seed: int):
        self.length, self.seed = length, seed
        self._orders: dict[int, npt.NDArray[np.uint32]] = {}

    def at(self, place: int) -> tuple[int, int]:
        """The record at a place of the endless sequence, and the seed of its example."""
        epoch, within = divmod(place, self.length)
        if epoch not in self._orders:
            for old in sorted(self._orders)[:-1]:  # neighbours in a batch may lie in two epochs
                del self._orders[old]
            rng = Rng((self.seed + EPOCH_SEED * epoch) % _SEEDS)
            self._orders[epoch] = rng.permutation(self.length).astype(np.uint32)
        record = int(self._orders[epoch][within])
        return record, (self.seed + record + self.length * epoch) % _SEEDS


class Mixture:
    """Example numbers -> draws."""

    def __init__(self, groups: Sequence[Group], sizes: Mapping[str, int], seed: int):
        """sizes: how many pictures each set has."""
        self.rates = rates(groups, sizes)
        self.names = list(self.rates)
        if empty := [name for name in self.names if sizes[name] < 1]:
            raise MixtureError(f"{', '.join(empty)}: has no records to draw")
        self.seed = seed
        self.orders = {name: Order(sizes[name], seed) for name in self.names}
        self._starts = [np.zeros(len(self.names), np.int64)]  # examples of each set before a block
        self._blocks: dict[int, Ints] = {}

    def draw(self, number: int, skip: int = 0) -> Draw:
        """The record of an example; skip: the so many-th after it in the order of its set."""
        block, within = divmod(number, BLOCK)
        chosen = self._block(block)
        which = chosen[within]
        place = int(self._start(block)[which] + np.count_nonzero(chosen[:within] == which))
        record, seed = self.orders[self.names[which]].at(place + skip)
        return Draw(self.names[which], record, seed)

    def _block(self, block: int) -> Ints:
        """Which set each example of a block comes from."""
        if block not in self._blocks:
            self._blocks = dict(list(self._blocks.items())[-3:])
            shares = list(self.rates.values())
            self._blocks[block] = Rng([self.seed % _SEEDS, block]).choice(
                len(shares), BLOCK, p=shares
            )
        return self._blocks[block]

    def _start(self, block: int) -> Ints:
        """How many examples of each set come before a block: counted up to it once."""
        while len(self._starts) <= block:
            chosen = self._block(len(self._starts) - 1)
            counts = np.bincount(chosen, minlength=len(self.names))
            self._starts.append(self._starts[-1] + counts)
        return self._starts[block]


class MixtureExamples:
    """Example numbers -> examples. A map-style data set for torch's DataLoader, without an end."""

    def __init__(
        self, mixture: Mixture, sets: Mapping[str, Sequence[Record]], maker: ExampleMaker
    ):
        self.mixture, self.sets, self.maker = mixture, sets, maker

    def __getitem__(self, number: int) -> Example:
        """The example; a record whose picture cannot be had is stood in for by the next ones."""
        for skip in range(TRIES):
            draw = self.mixture.draw(number, skip)
            try:
                made = self.maker.make(self.sets[draw.name][draw.record], Rng(draw.seed))
                return replace(made, skipped=skip)
            except PictureError as error:
                log.warning("%s, record %d: %s; taking the next", draw.name, draw.record, error)
        raise MixtureError(
            f"{draw.name}: {TRIES} records in a row have no picture. Fetch its pictures first, or "
            "take it out of the mixture with without()"
        )


class StepNumbers:
    """The example numbers of each step, for one process: DataLoader's batch_sampler.

    Steps follow each other from `start` on; a step's examples are dealt out to the processes, and
    a DataLoader hands whole steps to its workers, so no example is read twice.
    """

    def __init__(self, start: int, stop: int, batch: int, rank: int = 0, ranks: int = 1):
        """start, stop: steps. batch: examples a step, over all processes."""
        if batch % ranks:
            raise MixtureError(f"a batch of {batch} cannot be dealt out to {ranks} processes")
        self.start, self.stop, self.batch = start, stop, batch
        self.rank, self.ranks = rank, ranks

    def __len__(self) -> int:
        return self.stop - self.start

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.start, self.stop):
            first = step * self.batch
            yield list(range(first + self.rank, first + self.batch, self.ranks))
