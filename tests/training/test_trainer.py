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
from molmo_training.optimizers import Rate, Schedule, learning_rate
from molmo_training.recipe_tiny import tiny_config
from molmo_training.scene_learner import SceneLearner
from molmo_training.scenes import SceneSet, render_scenes
from molmo_training.state import StateError
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


def plain_steps(trainer, batches, count):
    """What the trainer is to do with scenes, written down once more: its loss and its updates."""
    model, learner, schedule = trainer.model, trainer.learner, SCHEDULE
    decoder, others = [], []
    for name, parameter in learner.named_parameters():
        is_connector = "new_embedding" in name or "vision" in name or "alignment" in name
        (others if is_connector else decoder).append((name, parameter))
    tables = ("embedding", "pad_embed", "patch_embedding.weight")
    hidden = [p for n, p in others if p.ndim == 2 and not n.endswith(tables)]
    rest = [p for n, p in others if not (p.ndim == 2 and not n.endswith(tables))]
    adam = torch.optim.AdamW(
        [{"params": rest}, {"params": [p for _, p in decoder]}],
        betas=(0.9, 0.95),
        eps=1e-6,
        weight_decay=0,
    )
    muon = torch.optim.Muon(hidden, weight_decay=0)
    vit = [p for n, p in others if "image_vit" in n]
    connector = [p for n, p in others if "image_vit" not in n]
    for step in range(count):
        (batch,) = batches(step, 0, 1)
        rounded = {n: p.bfloat16() for n, p in learner.named_parameters() if "vision" in n}
        with torch.autocast("cpu", torch.bfloat16):
            answers, aligned = torch.func.functional_call(learner, rounded, (batch,))
        for optimizer in (adam, muon):
            optimizer.zero_grad()
        (answers / torch.from_numpy(batch.text.weights).sum() + aligned).backward()
        for part in (connector, vit, [p for _, p in decoder]):
            torch.nn.utils.clip_grad_norm_(part, 1.0)
        for optimizer, peak in ((adam, 2e-3), (muon, 0.01)):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(Rate(peak, 1), step, schedule)
            optimizer.step()
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def test_scenes_are_learned_bit_for_bit_as_written_here(home, tmp_path):
    trainer, batches = make_trainer(home, tmp_path)
    for step in range(4):
        trainer.train_step(batches(step, 0, 1))
    other, _ = make_trainer(home, tmp_path)
    wanted = plain_steps(other, batches, 4)
    assert all(torch.equal(value, wanted[name]) for name, value in parameters(trainer).items())


def test_a_refused_step_leaves_weights_and_moments(home, tmp_path, caplog):
    trainer, batches = make_trainer(home, tmp_path, replace(CONFIG, patience=3))
    trainer.train_step(batches(0, 0, 1))
    head = trainer.model.transformer.ff_out.weight
    kept, moments = head.detach().clone(), trainer.optimizers.memory(head)["exp_avg"].clone()
    handle = trainer.model.transformer.ff_out.register_forward_hook(lambda *_: _[-1] * torch.inf)
    for _ in range(2):
        assert trainer.train_step(batches(1, 0, 1)).is_refused
    assert torch.equal(head, kept)
    assert torch.equal(trainer.optimizers.memory(head)["exp_avg"], moments)
    assert trainer.step == 3
    assert "the step is refused" in caplog.text
    handle.remove()
    assert not trainer.train_step(batches(2, 0, 1)).is_refused
    trainer.model.transformer.ff_out.register_forward_hook(lambda *_: _[-1] * torch.inf)
    for _ in range(2):
        trainer.train_step(batches(1, 0, 1))
    with pytest.raises(FloatingPointError, match="not finite for 3 steps in a row"):
        trainer.train_step(batches(1, 0, 1))


@pytest.mark.parametrize("name", ["model.safetensors", "state/trainer.json"])
def test_a_damaged_checkpoint_is_named(home, tmp_path, name):
    trainer, batches = make_trainer(home, tmp_path)
    trainer.train_step(batches(0, 0, 1))
    trainer.save()
    path = tmp_path / "last" / name
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(StateError, match="step-0000001: cannot be read"):
        make_trainer(home, tmp_path)[0].resume()
