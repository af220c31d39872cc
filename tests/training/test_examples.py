"""Rows made of records: equal to those of the published preprocessor."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from recipes import GOLDEN
from test_packing import expanded

from molmo_model.config import MolmoConfig
from molmo_model.text import Prompter, load_tokenizer
from molmo_training.examples import Example, ExampleMaker, collate_examples, cut
from molmo_training.records import Annotation, Marks, Picture, Record, Turn

CASES = json.loads((GOLDEN / "text" / "packing.json").read_text())["cases"]
TINY = Path(__file__).parents[2] / "assets" / "molmo-tiny"


def maker(directory: Path, form="chat", **options) -> ExampleMaker:
    config = MolmoConfig.from_json(directory / "config.json")
    return ExampleMaker(Prompter(load_tokenizer(directory), config), config, form, **options)


def blank(height, width) -> Picture:
    return Picture(lambda: np.zeros((height, width, 3), np.uint8))


def rng(seed=0):
    return np.random.RandomState(seed)


CAT = Marks(points=((1.0, 2.0),), label="cat")
THREE = (
    Annotation("pointing", (Turn(question="Point to any cat", marks=(CAT,)),)),
    Annotation(
        "user_qa",
        (Turn(question="Hi", answers=("Hello.",)), Turn(question="Bye", answers=("Goodbye.",))),
    ),
    Annotation("vqa2", (Turn(question="color?", answers=("black",)),)),
)


def seed_of_golden_draws() -> int:
    """Draws that keep the order of three annotations, tag the first and not the second."""
    for seed in count():
        drawn = rng(seed)
        in_order = drawn.permutation(3).tolist() == [0, 1, 2]
        if in_order and drawn.random_sample() < 0.1 <= drawn.random_sample():
            return seed
    raise AssertionError


@pytest.mark.parametrize("model", ["Molmo-7B-D-0924", "MolmoE-1B-0924"])
def test_rows_of_records_are_the_published_ones(test_data, model):
    folder = test_data / "published" / {"Molmo-7B-D-0924": "molmo-7b-d"}.get(model, "molmoe-1b")
    case = CASES[f"{model}/three_annotations"]
    record = Record(blank(*case["image_hw"]), THREE)
    row = maker(folder).make(record, rng(seed_of_golden_draws())).text
    assert row.ids.tolist() == expanded(case["input_tokens"])
    assert row.targets.tolist() == expanded(case["target_tokens"])
    assert row.weights == pytest.approx(np.array(expanded(case["loss_masks"])))
    assert row.segments.tolist() == expanded(case["subsegment_ids"])


@pytest.fixture(scope="module")
def tiny() -> ExampleMaker:
    return maker(TINY)


def questions(*answers: str) -> tuple[Annotation, ...]:
    return tuple(Annotation("vqa2", (Turn(question="?", answers=(a,)),)) for a in answers)


def learned(example: Example, maker: ExampleMaker) -> str:
    return maker.prompter.decode(example.text.targets[example.text.weights > 0])


def test_annotations_come_in_random_order(tiny):
    record = Record(blank(60, 80), questions("one", "two", "three"))
    orders = {learned(tiny.make(record, rng(seed)), tiny) for seed in range(40)}
    assert len(orders) == 6
    assert all(sorted(order.split()) == ["one", "three", "two"] for order in orders)


@pytest.mark.parametrize("number", [1, 2, 4])
def test_annotations_share_the_weight_of_their_root(tiny, number):
    example = tiny.make(Record(blank(60, 80), questions(*"abcd"[:number])), rng())
    assert set(example.text.weights) == {0.0, np.float32(number**-0.5)}


def test_the_weight_of_an_annotation_is_kept(tiny):
    (one,) = questions("a")
    example = tiny.make(Record(blank(60, 80), (replace(one, weight=0.25),)), rng())
    assert set(example.text.weights) == {0.0, 0.25}


def test_captioners_learn_both_texts_at_full_weight():
    captioner = maker(TINY, "caption")
    caption = Annotation("long_caption", (Turn(answers=("A cube.",)),))
    spoken = Annotation("transcript", (Turn(answers=("So, a cube.", "I see a cube.")),))
    record = Record(blank(60, 80), (caption, spoken))
    examples = [captioner.make(record, rng(seed)) for seed in range(20)]
    assert {w for e in examples for w in e.text.weights} == {0.0, 1.0}
    texts = {learned(e, captioner) for e in examples}
    assert {"A cube." in text for text in texts} == {True}
    assert {("So," in text) + ("I see" in text) for text in texts} == {1}
    assert {"So," in text for text in texts} == {True, False}
    assert "User" not in captioner.prompter.decode(examples[0].text.ids)


def test_long_rows_are_cut_and_begin_alike(tiny):
    record = Record(blank(60, 80), questions(*["many words " * 9] * 9))
    whole = tiny.make(record, rng())
    short = maker(TINY, length=200).make(record, rng())
    assert len(short.text.ids) == 200 < len(whole.text.ids)
    assert np.array_equal(short.text.ids, cut(whole.text, 200).ids)
    assert np.array_equal(short.text.weights, whole.text.weights[:200])


def test_a_row_too_short_for_its_picture_is_refused():
    with pytest.raises(ValueError, match="the picture takes .* tokens, but rows are cut at 50"):
        maker(TINY, length=50).make(Record(blank(60, 80), questions("a")), rng())


def test_a_batch_pads_tokens_and_crops(test_data):
    real = maker(test_data / "published" / "molmo-7b-d")
    small, large = (
        real.make(Record(blank(*size), questions("yes")), rng()) for size in ((90, 90), (900, 500))
    )
    batch = collate_examples([small, large])
    few, many = len(small.image.crops), len(large.image.crops)
    assert few < many == batch.crops.shape[1]
    for name in ("crops", "masks", "index"):
        stacked = getattr(batch, name)
        assert np.array_equal(stacked[0, :few], getattr(small.image, name))
        assert (stacked[0, few:] == -1).all()
        assert np.array_equal(stacked[1], getattr(large.image, name))
    assert (batch.text.ids[0, len(small.text.ids) :] == -1).all()
