"""How a Molmo learns from packed rows: the published loss, cut any way, on any processes."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
import torch
from homemade import small_config, small_model, small_recipe
from recipes import GOLDEN, hash_pixels
from safetensors.torch import load_file

from molmo_model.weights import load_model
from molmo_training.costs import Work, operations, work_of
from molmo_training.distributed import Worker
from molmo_training.dropout import Dropout
from molmo_training.examples import ExampleBatch
from molmo_training.learner import PackedLearner
from molmo_training.optimizers import Optimizers, Rate, Schedule, component_parameters
from molmo_training.packing import Annotation, Packed, collate, pack
from molmo_training.runs import Options, prepared, recompute_layers

RATE = Rate(1e-3, 0)
SCHEDULE = Schedule(steps=10, connector=RATE, vit=RATE, decoder=RATE)


def golden_batch(folder):
    """The packed example, and what is said of it."""
    case = json.loads((folder / "golden.json").read_text())["cases"]["packed"]
    stored = load_file(folder / "golden.safetensors")

    def row(name, kind):
        return stored[f"packed.{name}"].numpy().astype(kind)[None]

    text = Packed(
        ids=row("input_ids", np.int64),
        targets=row("labels", np.int64),
        weights=row("loss_masks", np.float32),
        positions=row("position_ids", np.int64),
        segments=row("subsegment_ids", np.int64),
    )
    crops = hash_pixels(case["n_crops"], case["hash_seed"])[None]
    index = row("image_input_idx", np.int64)
    return ExampleBatch(text, crops, row("image_masks", np.float32), index), case


def small_batch(rows=3, seed=0) -> ExampleBatch:
    """Rows about noise, with answers of different lengths."""
    config, rng = small_config(), np.random.default_rng(seed)
    crops = rng.standard_normal((rows, 2, config.crops.patches, 588)).astype(np.float32)
    head = [0, *[config.image_tokens.patch] * (2 * config.crops.pooled)]
    texts = [
        pack(
            head,
            [
                Annotation([5, 6, 7], [*rng.integers(9, 90, n + row), 0], [0.5] * (n + row + 1))
                for n in (3, 5)
            ],
        )
        for row in range(rows)
    ]
    index = np.arange(1, len(head)).reshape(1, 2, -1).repeat(rows, 0)
    masks = np.ones(crops.shape[:3], np.float32)
    return ExampleBatch(collate(texts), crops, masks, index)


@pytest.mark.parametrize("variant", ["tiny-qwen2", "tiny-olmo", "tiny-moe"])
def test_loss_and_component_norms_are_the_published_ones(variant):
    batch, case = golden_batch(GOLDEN / variant)
    model = load_model(GOLDEN / variant)
    model.transformer.wte.embedding.requires_grad_(False)
    recompute_layers(model)
    learner = PackedLearner(model, mixed=False)
    loss = learner.losses(batch).answers / batch.text.weights.sum()
    loss.backward()
    norms = Optimizers(component_parameters(learner), SCHEDULE).norms()
    wanted = case["component_grad_norms_excluding_frozen_wte"]
    assert float(loss.detach()) == pytest.approx(case["total_loss"], rel=1e-4)
    found = {name: float(norm) for name, norm in norms.items()}
    assert found == pytest.approx(
        {"connector": wanted["connector"], "vit": wanted["vit"], "decoder": wanted["llm"]},
        rel=1e-3,
    )


def test_gradients_are_clipped_by_component():
    torch.manual_seed(1)
    learner = PackedLearner(small_model(), mixed=False)
    (100 * learner.losses(small_batch()).answers).backward()
    optimizers = Optimizers(component_parameters(learner), SCHEDULE)
    norms = optimizers.norms()
    before = {p: p.grad.clone() for p in optimizers.parameters() if p.grad is not None}
    optimizers.step(0, norms)
    factors = set()
    for name, group in component_parameters(learner).items():
        factor = min(1.0, 1 / (float(norms[name]) + 1e-6))
        factors.add(factor)
        for parameter in group.values():
            if parameter.grad is not None:
                torch.testing.assert_close(parameter.grad, before[parameter] * factor)
    assert len(factors) == 3


def test_recomputing_layers_changes_no_gradient():
    torch.manual_seed(1)
    learner, batch = PackedLearner(small_model(), dropout=Dropout(rate=0.3)), small_batch()

    def gradients():
        torch.manual_seed(2)
        learner.zero_grad()
        learner.losses(batch).answers.backward()
        return {n: p.grad for n, p in learner.named_parameters() if p.grad is not None}

    plain = gradients()
    recompute_layers(learner.model)
    again = gradients()
    assert plain.keys() == again.keys()
    assert all(torch.equal(plain[name], again[name]) for name in plain)


def hidden(learner, batch):
    """The decoder's states, (B, T, D), with the dropout of seed 3."""
    learner.dropping.aim(torch.from_numpy(batch.text.weights))
    torch.manual_seed(3)
    return learner.model.hidden_states(
        torch.from_numpy(batch.text.ids),
        None,
        position_ids=torch.from_numpy(batch.text.positions),
        segment_ids=torch.from_numpy(batch.text.segments),
    )


@pytest.mark.parametrize("answers_only", [True, False])
def test_dropout_is_where_the_stage_wants_it(answers_only):
    torch.manual_seed(1)
    model, batch = small_model(), small_batch()
    learner = PackedLearner(model, dropout=Dropout(rate=0.5, answers_only=answers_only))
    with torch.no_grad():
        dropped, again = hidden(learner, batch), hidden(learner, batch)
        plain = hidden(learner.eval(), batch)
    differs = (dropped != plain).any(-1).numpy()
    learned, is_token = batch.text.weights > 0, batch.text.ids >= 0
    assert torch.equal(dropped, again)
    assert differs[learned].all()
    first = int(learned.any(0).argmax())
    assert differs[:, :first].any() != answers_only
    assert differs[is_token].all() != answers_only


def test_operations_are_those_that_torch_counts():
    from torch.utils.flop_counter import FlopCounterMode

    learner, batch = PackedLearner(small_model(), mixed=False), small_batch()
    with FlopCounterMode(display=False) as counter:
        learner.losses(batch).answers.backward()
    counted = operations(small_config(), work_of(batch.text, batch.crops))
    # Torch also counts padding, pooling's attention, and has no gradient to compute for pixels.
    assert counted == pytest.approx(counter.get_total_flops(), rel=0.1)


def test_an_expert_that_is_not_chosen_costs_nothing():
    config = load_model(GOLDEN / "tiny-moe").config
    experts = config.decoder.experts
    token = operations(config, Work(tokens=1))
    blocks = load_model(GOLDEN / "tiny-moe").transformer.blocks
    one = sum(p.numel() for block in blocks for p in block.mlp.experts[0].parameters())
    dense = [p for n, p in blocks.named_parameters() if p.ndim == 2 and "experts" not in n]
    rest = sum(p.numel() for p in dense)
    assert token == 6 * (rest + experts.chosen * one)


def test_compiled_layers_learn_the_same(monkeypatch, tmp_path):
    # Without the C++ that the default backend writes: it takes a minute to compile.
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    gradients = []
    for is_compiled in (False, True):
        torch.manual_seed(1)
        options = Options(start=tmp_path, output=tmp_path, is_compiled=is_compiled)
        learner = prepared(small_model(), small_recipe(1), options, Worker()).eval()
        learner.losses(small_batch()).answers.backward()
        gradients.append(learner.model.transformer.blocks[0].attn.att_proj.weight.grad)
    torch.testing.assert_close(*gradients, rtol=2e-2, atol=1e-4)  # products are in bfloat16
