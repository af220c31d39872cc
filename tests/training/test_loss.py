"""Loss, z-loss and gradients of the packed golden example; the published schedule."""

import json
from dataclasses import replace

import pytest
import torch
from recipes import GOLDEN, hash_pixels
from safetensors.torch import load_file

from molmo_model.weights import load_model, published_tensors
from molmo_training.loss import summed_loss
from molmo_training.optimizers import Rate, Schedule, component_parameters, learning_rate
from molmo_training.recipes import captions, sft

LOSS, GRADIENT = 1e-4, 1e-3  # relative, golden README


@pytest.fixture(scope="module", params=("tiny-qwen2", "tiny-olmo", "tiny-moe"))
def folder(request):
    return GOLDEN / request.param


@pytest.fixture(scope="module")
def case(folder):
    return json.loads((folder / "golden.json").read_text())["cases"]["packed"]


@pytest.fixture(scope="module")
def trained(folder, case):
    """The model with the gradients of the packed example, and its loss."""
    stored = load_file(folder / "golden.safetensors")
    t = {k: v.long() if v.dtype == torch.int32 else v for k, v in stored.items()}
    model = load_model(folder)
    crops = torch.from_numpy(hash_pixels(case["n_crops"], case["hash_seed"]))
    logits = model(
        t["packed.input_ids"][None],
        crops[None],
        t["packed.image_masks"][None],
        t["packed.image_input_idx"][None],
        position_ids=t["packed.position_ids"][None],
        segment_ids=t["packed.subsegment_ids"][None],
    )
    weights = t["packed.loss_masks"]
    loss = summed_loss(logits[0], t["packed.labels"], weights) / weights.clamp(min=0).sum()
    loss.backward()
    return model, float(loss.detach())


def test_the_loss_with_its_z_part_is_the_published_one(trained, case):
    assert trained[1] == pytest.approx(case["total_loss"], rel=LOSS)


def test_every_gradient_is_the_published_one(trained, case):
    norms = {name: p.grad for name, p in published_tensors(trained[0]).items()}
    wrong = []
    for name, wanted in case["grad_norms"].items():
        found = 0.0 if norms[name] is None else float(norms[name].norm())
        if abs(found - (wanted or 0.0)) > GRADIENT * (wanted or 0.0) + 1e-4:
            wrong.append((name, found, wanted))
    assert not wrong


def test_components_are_split_as_published(trained, case):
    wanted = case["component_grad_norms_excluding_frozen_wte"]
    groups = component_parameters(trained[0])
    frozen = trained[0].transformer.wte.embedding
    for ours, theirs in (("connector", "connector"), ("vit", "vit"), ("decoder", "llm")):
        gradients = [
            p.grad for p in groups[ours].values() if p.grad is not None and p is not frozen
        ]
        norm = torch.stack([g.norm() for g in gradients]).norm()
        assert float(norm) == pytest.approx(wanted[theirs], rel=GRADIENT)


@pytest.mark.parametrize(("stage", "recipe"), [("pretrain", captions), ("finetune", sft)])
@pytest.mark.parametrize("component", ["connector", "vit", "llm"])
def test_the_schedule_is_the_published_one(stage, recipe, component):
    published = json.loads((GOLDEN / "text" / "schedule.json").read_text())
    schedule = recipe().training.schedule
    assert schedule.steps == published["total_steps"][stage]
    rate = schedule.rate_of({"llm": "decoder"}.get(component, component))
    rows = [row[2:] for row in published["rows"] if row[:2] == [stage, component]]
    assert len(rows) == 15
    for step, wanted in rows:
        assert learning_rate(rate, step, schedule) == pytest.approx(wanted, rel=1e-6), step


def test_the_last_steps_cool_down_to_nothing():
    one = Rate(1.0)
    plain = Schedule(steps=600, connector=one, vit=one, decoder=one)
    cooled = replace(plain, steps=1_000, cooldown=400)
    assert [learning_rate(one, step, cooled) for step in (0, 150, 400, 600)] == [
        learning_rate(one, step, plain) for step in (0, 150, 400, 600)
    ]
    rates = [learning_rate(one, step, cooled) for step in (600, 700, 900, 1_000, 1_100)]
    assert rates == pytest.approx([0.1, 0.075, 0.025, 0, 0])
