"""From local copies to a loss: sets opened by name, mixed, loaded, packed and read by a Molmo."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch
from greys import png
from tiny import byte_tokenizer, config_for
from torch.utils.data import DataLoader

from molmo_model.molmo import Molmo
from molmo_model.text import Prompter
from molmo_training.examples import ExampleBatch, ExampleMaker, collate_examples
from molmo_training.loss import summed_loss
from molmo_training.mixture import (
    CAPTIONS,
    INSTRUCTIONS,
    Group,
    Mixture,
    MixtureExamples,
    StepNumbers,
    names_of,
)
from molmo_training.sources.catalog import SOURCES, open_set, open_sets
from molmo_training.sources.columns import SchemaError

TEXT = pa.string()
XY = pa.list_(pa.struct({"x": pa.float64(), "y": pa.float64()}))
GROUPS = (Group(0.5, {"pixmo_docs_charts": None}), Group(0.5, {"pixmo_count": None}))


class Web:
    """A store in which every URL is a grey picture of another height."""

    def read(self, url, sha256=""):
        return png(40, height=300 * int(url), width=300)


@pytest.fixture
def root(parquet):
    """Local copies of two sets, three records each."""
    questions = [{"question": "How much?", "answer": "12"}, {"question": "Which?", "answer": "it"}]
    asked = pa.list_(pa.struct({"question": TEXT, "answer": TEXT}))
    image = pa.struct({"bytes": pa.binary(), "path": TEXT})
    parquet(
        [
            {"image": {"bytes": png(9)}, "image_id": "", "questions": questions[: i + 1]}
            for i in (0, 1)
        ],
        pa.schema([("image", image), ("image_id", TEXT), ("questions", asked)]),
        folder="pixmo-docs/charts",
    )
    points = [{"x": 30.0, "y": 40.0}]
    rows = [{"image_url": u, "count": 1, "label": "cup", "points": points} for u in "123"]
    schema = [("image_url", TEXT), ("count", pa.int64()), ("label", TEXT), ("points", XY)]
    return parquet(rows, pa.schema(schema), folder="pixmo-count/data")


def examples(root) -> tuple[MixtureExamples, Molmo]:
    tokenizer = byte_tokenizer()
    config = config_for(tokenizer)
    config = replace(config, crops=replace(config.crops, max_crops=2))
    torch.manual_seed(0)
    model = Molmo(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    sets = open_sets(names_of(GROUPS), root)
    mixture = Mixture(GROUPS, {name: len(one) for name, one in sets.items()}, seed=1)
    maker = ExampleMaker(Prompter(tokenizer, config), config, "chat", store=Web())
    return MixtureExamples(mixture, sets, maker), model


def losses(model: Molmo, batch: ExampleBatch) -> float:
    text = batch.text
    with torch.no_grad():
        logits = model(
            *map(torch.from_numpy, (text.ids, batch.crops, batch.masks, batch.index)),
            position_ids=torch.from_numpy(text.positions),
            segment_ids=torch.from_numpy(text.segments),
        )
    targets, weights = torch.from_numpy(text.targets), torch.from_numpy(text.weights)
    return float(summed_loss(logits.flatten(0, 1), targets.flatten(), weights.flatten()))


def test_local_copies_train_a_molmo_and_padding_changes_nothing(root):
    numbered, model = examples(root)
    loader = DataLoader(
        numbered, batch_sampler=StepNumbers(0, 1, 4), collate_fn=collate_examples, num_workers=0
    )
    (batch,) = loader
    alone = [collate_examples([numbered[n]]) for n in range(4)]
    assert len({one.crops.shape for one in alone}) > 1
    assert len({one.text.ids.shape for one in alone}) > 1
    together = losses(model, batch)
    assert np.isfinite(together) and together > 0
    # float32 over some hundred tokens; a wrong row differs in the first digit
    assert together == pytest.approx(sum(losses(model, one) for one in alone), rel=1e-4)


def test_every_set_of_the_mixtures_has_a_reader():
    assert {*names_of(CAPTIONS), *names_of(INSTRUCTIONS)} <= set(SOURCES)


def test_an_unknown_set_is_refused_with_all_names(root):
    for open_ in (lambda: open_set("cats"), lambda: open_sets(["cats"], root)):
        with pytest.raises(
            SchemaError, match=r"no data set is called 'cats'; there are: pixmo_cap"
        ):
            open_()


def test_a_local_copy_that_is_missing_says_how_to_make_it(tmp_path):
    with pytest.raises(
        SchemaError, match=r"pixmo-cap: is not there.*hf download allenai/pixmo-cap"
    ):
        open_sets(["pixmo_cap"], tmp_path)
