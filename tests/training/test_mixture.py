"""The mixture: published rates, orders that repeat, shares without overlap."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from torch.utils.data import DataLoader

from molmo_model.config import MolmoConfig
from molmo_model.pictures import PictureError
from molmo_model.text import Prompter, load_tokenizer
from molmo_training.examples import ExampleMaker
from molmo_training.mixture import (
    BLOCK,
    CAPTIONS,
    INSTRUCTIONS,
    TRIES,
    Draw,
    Group,
    Mixture,
    MixtureError,
    MixtureExamples,
    Order,
    StepNumbers,
    rates,
    without,
)
from molmo_training.records import Annotation, Picture, Record, Turn

TINY = Path(__file__).parents[2] / "assets" / "molmo-tiny"
GROUPS = (Group(0.25, {"a": None, "b": 400}), Group(0.75, {"c": None}))
SIZES = {"a": 100, "b": 7, "c": 11}


def test_a_group_has_its_rate_and_roots_share_it():
    found = rates(GROUPS, SIZES)
    assert found == pytest.approx({"a": 0.25 / 3, "b": 0.25 * 2 / 3, "c": 0.75})


def test_the_published_mixture_has_the_published_rates():
    sizes = {name: 10_000 for group in INSTRUCTIONS for name in group.sizes}
    found = rates(INSTRUCTIONS, sizes)
    assert sum(found.values()) == pytest.approx(1)
    assert sum(found[name] for name in INSTRUCTIONS[0].sizes) == pytest.approx(0.15)
    assert found["pixmo_points"] == pytest.approx(0.35 / 6)
    assert found["plot_qa"] / found["figure_qa"] == pytest.approx(2**0.5)
    assert rates(CAPTIONS, {"pixmo_cap_with_transcripts": 5}) == {"pixmo_cap_with_transcripts": 1}


def test_measured_rates_are_the_wanted_ones():
    mixture, n = Mixture(GROUPS, SIZES, seed=1), 40_000
    drawn = Counter(mixture.draw(i).name for i in range(n))
    for name, rate in mixture.rates.items():
        spread = 4 * (n * rate * (1 - rate)) ** 0.5
        assert abs(drawn[name] - n * rate) < spread, name


def test_a_set_shows_all_its_records_before_any_again():
    mixture = Mixture(GROUPS, SIZES, seed=1)
    draws = [d for d in map(mixture.draw, range(2_000)) if d.name == "c"]
    epochs = [draws[i : i + 11] for i in range(0, 110, 11)]
    orders = [tuple(d.record for d in epoch) for epoch in epochs]
    assert all(sorted(order) == list(range(11)) for order in orders)
    assert len(set(orders)) == len(orders)
    assert len({d.seed for epoch in epochs for d in epoch}) == 110


def test_orders_and_seeds_are_as_published():
    order = Order(50, seed=50189)
    for epoch in (0, 1, 2):
        wanted = np.random.RandomState(50189 + 1771 * epoch).permutation(50)
        drawn = [order.at(50 * epoch + i) for i in range(50)]
        assert [record for record, _ in drawn] == wanted.tolist()
        assert [seed for _, seed in drawn] == [50189 + r + 50 * epoch for r in wanted]


def test_a_draw_depends_on_its_number_alone():
    numbers = [3 * BLOCK + 5, 0, BLOCK - 1, BLOCK, 17, 9 * BLOCK, 1]
    straight = Mixture(GROUPS, SIZES, seed=4)
    in_order = {n: straight.draw(n) for n in range(max(numbers) + 1)}
    jumping = Mixture(GROUPS, SIZES, seed=4)
    assert [jumping.draw(n) for n in numbers] == [in_order[n] for n in numbers]
    assert Mixture(GROUPS, SIZES, seed=5).draw(17) != in_order[17]


def test_processes_deal_out_every_example_once():
    batch, ranks = 12, 3
    steps = [list(StepNumbers(0, 5, batch, rank, ranks)) for rank in range(ranks)]
    dealt = [number for per_rank in steps for step in per_rank for number in step]
    assert sorted(dealt) == list(range(5 * batch))
    for step in range(5):
        together = sorted(n for per_rank in steps for n in per_rank[step])
        assert together == list(range(step * batch, (step + 1) * batch))


def test_a_run_that_resumes_goes_on_where_it_was():
    uninterrupted = list(StepNumbers(0, 9, 8, 1, 2))
    assert [*StepNumbers(0, 4, 8, 1, 2), *StepNumbers(4, 9, 8, 1, 2)] == uninterrupted
    assert len(StepNumbers(4, 9, 8)) == 5


def test_a_batch_that_cannot_be_dealt_out_is_refused():
    with pytest.raises(MixtureError, match="a batch of 10 cannot be dealt out to 4 processes"):
        StepNumbers(0, 1, 10, 0, 4)


def test_a_set_that_is_missing_is_named():
    with pytest.raises(MixtureError, match=r"draws from b, which were not given.*without"):
        rates(GROUPS, {"a": 1, "c": 1})
    with pytest.raises(MixtureError, match="a: has no records"):
        Mixture(GROUPS, SIZES | {"a": 0}, seed=0)


def test_what_is_taken_out_leaves_its_share_to_its_group():
    found = rates(without(GROUPS, ["b"]), {"a": 1, "c": 1})
    assert found == pytest.approx({"a": 0.25, "c": 0.75})
    assert without(GROUPS, ["a", "b"]) == GROUPS[1:]
    with pytest.raises(MixtureError, match="the mixture has no d"):
        without(GROUPS, ["d"])


class Numbered:
    """Records that say their number; those in `dead` have no picture."""

    def __init__(self, length: int, dead=frozenset()):
        self.length, self.dead = length, dead

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        def draw():
            if index in self.dead:
                raise PictureError("the link is dead")
            return np.full((40, 60, 3), index, np.uint8)

        turns = (Turn(question="Which?", answers=(str(index),)),)
        return Record(Picture(draw), (Annotation("user_qa", turns),))


def examples(sets, seed=3) -> MixtureExamples:
    config = MolmoConfig.from_json(TINY / "config.json")
    maker = ExampleMaker(Prompter(load_tokenizer(TINY), config), config, "chat")
    groups = (Group(1.0, dict.fromkeys(sets)),)
    mixture = Mixture(groups, {name: len(one) for name, one in sets.items()}, seed)
    return MixtureExamples(mixture, sets, maker)


def rows(loader) -> list[list[list[int]]]:
    return [[one.text.ids.tolist() for one in step] for step in loader]


@pytest.mark.parametrize("workers", [0, 2])
def test_loader_workers_change_nothing_and_resuming_neither(workers):
    whole = examples({"a": Numbered(9), "b": Numbered(4)})
    wanted = [[whole[n].text.ids.tolist() for n in range(4 * s, 4 * s + 4)] for s in range(5)]

    def loaded(start):
        return DataLoader(
            examples({"a": Numbered(9), "b": Numbered(4)}),
            batch_sampler=StepNumbers(start, 5, 4),
            collate_fn=list,
            num_workers=workers,
            multiprocessing_context="fork" if workers else None,
        )

    assert rows(loaded(0)) == wanted
    assert rows(loaded(2)) == wanted[2:]


def test_a_record_without_picture_is_stood_in_for_by_the_next(caplog):
    whole, holed = examples({"a": Numbered(20)}), examples({"a": Numbered(20, dead={7})})
    order = [whole.mixture.draw(n).record for n in range(20)]
    place = order.index(7)
    with caplog.at_level(logging.WARNING):
        stand_in = holed[place]
    assert np.array_equal(stand_in.text.ids, whole[place + 1].text.ids)
    assert "a, record 7: the link is dead" in caplog.text
    assert np.array_equal(holed[place - 1].text.ids, whole[place - 1].text.ids)


def test_a_set_without_pictures_is_given_up():
    nothing = examples({"a": Numbered(30, dead=set(range(30)))})
    with pytest.raises(MixtureError, match=f"a: {TRIES} records in a row have no picture"):
        nothing[0]


def test_a_draw_says_what_it_is():
    assert Mixture((Group(1, {"only": None}),), {"only": 1}, 0).draw(3) == Draw("only", 0, 3)
