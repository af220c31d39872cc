"""The trainer: it learns, it resumes bit for bit, and two processes train like one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

pytest.importorskip("mujoco", reason="needs mujoco for the scenes")

from molmo_model.molmo import Molmo
from molmo_model.text import Prompter, load_tokenizer
from molmo_model.weights import load_model
from molmo_training.alignment import Alignment
from molmo_training.batches import SceneBatches
from molmo_training.distributed import Worker
from molmo_training.initial import initialise
from molmo_training.optimizers import Rate, Schedule
from molmo_training.recipe_tiny import tiny_config
from molmo_training.scene_learner import SceneLearner
from molmo_training.scenes import SceneSet, render_scenes
from molmo_training.tokenizer import save_tokenizer, train_tokenizer
from molmo_training.trainer import TrainConfig, Trainer

SCENES = SceneSet(count=8)
SCHEDULE = Schedule(
    steps=6,
    connector=Rate(2e-3, 1),
    vit=Rate(2e-3, 1),
    decoder=Rate(2e-3, 1),
    matrices=Rate(0.01, 1),
)
CONFIG = TrainConfig(schedule=SCHEDULE, save_every=3, patience=1)
WORDS = " red orange yellow green cyan blue purple white cube sphere cylinder capsule"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A directory with scenes and a tokenizer."""
    directory = tmp_path_factory.mktemp("home")
    render_scenes(directory / "scenes", SCENES, tiny_config(256), 1)
    save_tokenizer(train_tokenizer([WORDS] * 50, vocab_size=600), directory)
    return directory


def make_trainer(home, output, config=CONFIG, worker=None):
    """A trainer of a two-layer model, and its batches."""
    torch.set_num_threads(1)
    tokenizer = load_tokenizer(home)
    tiny = tiny_config(tokenizer.get_vocab_size(with_added_tokens=False))
    shape = replace(
        tiny,
        vision=replace(tiny.vision, layers=2, features=(-1, -2)),
        decoder=replace(tiny.decoder, layers=2),
    )
    torch.manual_seed(0)
    model, alignment = Molmo(shape), Alignment(tokenizer, shape.decoder.width)
    scenes = render_scenes(home / "scenes", SCENES, tiny_config(256), 1)
    initialise(model, torch.from_numpy(scenes.crops(np.arange(len(scenes)))).flatten(0, 1))
    batches = SceneBatches(
        scenes,
        Prompter(tokenizer, shape),
        shape.crops,
        batch=4,
        text_tokens=80,
        seed=1,
        pointing_steps=2,
    )
    learner = SceneLearner(model, alignment)
    return Trainer(learner, config, output, worker), lambda *at: [batches.at(*at)]


def parameters(trainer):
    return {name: value.detach().clone() for name, value in trainer.model.named_parameters()}


def test_the_loss_falls(home, tmp_path):
    config = replace(CONFIG, schedule=replace(SCHEDULE, steps=25))
    trainer, batches = make_trainer(home, tmp_path, config)
    batch = batches(0)
    losses = [trainer.train_step(batch) for _ in range(25)]
    assert losses[-1].loss < 0.6 * losses[0].loss
    assert losses[-1].auxiliary < 0.6 * losses[0].auxiliary


def test_an_interrupted_run_ends_with_the_same_weights(home, tmp_path):
    whole, batches = make_trainer(home, tmp_path / "whole")
    whole.train(batches)

    def fail_at_four(step, rank, ranks):
        if step == 4:
            raise KeyboardInterrupt
        return batches(step, rank, ranks)

    interrupted, _ = make_trainer(home, tmp_path / "cut")
    with pytest.raises(KeyboardInterrupt):
        interrupted.train(fail_at_four)
    resumed, _ = make_trainer(home, tmp_path / "cut")
    resumed.resume()
    assert resumed.step == 3
    resumed.train(batches)
    expected = parameters(whole)
    assert all(torch.equal(v, expected[k]) for k, v in parameters(resumed).items())
    saved = load_model(tmp_path / "cut" / "last")
    assert all(torch.equal(v, expected[k]) for k, v in saved.named_parameters())


def test_a_loss_that_is_not_finite_is_refused(home, tmp_path):
    trainer, batches = make_trainer(home, tmp_path)
    with torch.no_grad():
        trainer.model.transformer.ff_out.weight.fill_(float("nan"))
    before = parameters(trainer)["transformer.wte.embedding"]
    with pytest.raises(FloatingPointError, match="learning rates"):
        trainer.train_step(batches(0))
    assert torch.equal(parameters(trainer)["transformer.wte.embedding"], before)


def gradients_of_two(rank, home, output):
    """One of two processes: one step, and the gradients that it sees."""
    rendezvous = f"file://{output}/rendezvous"
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=2)
    trainer, batches = make_trainer(home, output, worker=Worker(rank, 2))
    trainer.train_step(batches(0, rank, 2))
    if rank == 0:
        torch.save([p.grad for p in trainer.model.parameters()], output / "two.pt")
    dist.destroy_process_group()


def test_two_processes_add_up_their_gradients(home, tmp_path):
    spawn(gradients_of_two, (home, tmp_path), nprocs=2)
    two = torch.load(tmp_path / "two.pt", weights_only=True)
    apart = []
    for rank in range(2):
        trainer, batches = make_trainer(home, tmp_path / str(rank))
        batch = batches(0, rank, 2)
        trainer.train_step(batch)
        apart.append(([p.grad for p in trainer.model.parameters()], batch[0].text.weights.sum()))
    (first, w0), (second, w1) = apart
    head = [n for n, _ in trainer.model.named_parameters()].index("transformer.ff_out.weight")
    # The head sees the answers' loss alone, which is a sum over both halves by its weight. It is
    # clipped in the one and scaled in the other, so only the direction is comparable, in bfloat16.
    merged = (first[head] * w0 + second[head] * w1) / (w0 + w1)
    direction = torch.nn.functional.cosine_similarity(two[head].flatten(), merged.flatten(), dim=0)
    assert float(direction) > 0.9999
