"""Processes that train together: the same loss and gradients as one, and checkpoints for any."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.distributed as dist
from homemade import small_model
from test_packed_learner import SCHEDULE, small_batch
from torch.multiprocessing.spawn import spawn

from molmo_model.weights import load_model
from molmo_training.distributed import Worker, shard, whole
from molmo_training.examples import ExampleBatch
from molmo_training.learner import PackedLearner
from molmo_training.packing import Packed
from molmo_training.runs import recompute_layers
from molmo_training.trainer import TrainConfig, Trainer

CONFIG = TrainConfig(schedule=replace(SCHEDULE, steps=4), save_every=2)
ROWS = 4


def rows(batch: ExampleBatch, which: slice) -> ExampleBatch:
    text = Packed(*(getattr(batch.text, name)[which] for name in Packed.__dataclass_fields__))
    return ExampleBatch(text, batch.crops[which], batch.masks[which], batch.index[which])


def trainer_of(output, worker=None) -> Trainer:
    torch.set_num_threads(1)
    torch.manual_seed(1)
    learner = PackedLearner(small_model(), mixed=False)
    recompute_layers(learner.model)
    if worker:
        shard(learner, learner.model)
    return Trainer(learner, CONFIG, output, worker)


def step_at(step, rank=0, ranks=1, size=ROWS):
    """One batch, cut into micro-batches of a few rows."""
    batch = rows(small_batch(ROWS, seed=step), slice(rank, None, ranks))
    return [rows(batch, slice(i, i + size)) for i in range(0, ROWS // ranks, size)]


def learned(trainer, step) -> dict[str, torch.Tensor]:
    """The loss of a step and its gradients, whole."""
    report = trainer.train_step(step)
    found = {n: whole(p.grad) for n, p in trainer.model.named_parameters() if p.grad is not None}
    return {"loss": torch.tensor(report.loss), "tokens": torch.tensor(report.work.tokens)} | found


def one_of_two(rank, output):
    """One process of two: a step, and a run."""
    rendezvous = f"file://{output}/rendezvous"
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=2)
    worker = Worker(rank, 2)
    found = learned(trainer_of(output, worker), step_at(0, rank, 2, size=1))
    if rank == 0:
        torch.save(found, output / "found.pt")
    together = trainer_of(output / "two", worker)
    together.train(lambda *place: step_at(*place, size=1))
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What two processes leave."""
    directory = tmp_path_factory.mktemp("two")
    spawn(one_of_two, (directory,), nprocs=2)
    return directory


def assert_close(found, wanted):
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():  # sums in another order
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6, msg=name)


def test_micro_batches_add_up_to_the_batch(tmp_path):
    wanted = learned(trainer_of(tmp_path), step_at(0))
    assert_close(learned(trainer_of(tmp_path), step_at(0, size=1)), wanted)
    assert_close(learned(trainer_of(tmp_path), step_at(0, size=3)), wanted)


def test_two_processes_add_up_to_one(two, tmp_path):
    wanted = learned(trainer_of(tmp_path), step_at(0))
    assert_close(torch.load(two / "found.pt", weights_only=True), wanted)


def test_what_two_processes_saved_one_goes_on_from(two, tmp_path):
    alone = trainer_of(tmp_path / "one")
    alone.train(step_at)
    resumed = trainer_of(two / "two")
    resumed.resume()
    assert resumed.step == CONFIG.schedule.steps
    saved = load_model(two / "two" / "last").state_dict()
    for (name, weight), other in zip(
        alone.model.named_parameters(), resumed.model.parameters(), strict=True
    ):
        assert torch.equal(other, saved[name])
        torch.testing.assert_close(other, weight, rtol=1e-3, atol=1e-4, msg=name)
        memory, wanted = resumed.optimizers.memory(other), alone.optimizers.memory(weight)
        assert memory.keys() == wanted.keys()
        for kind, value in wanted.items():
            torch.testing.assert_close(memory[kind], value, rtol=1e-3, atol=1e-4, msg=name)
