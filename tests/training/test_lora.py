"""Adapters: they start as nothing, train alone, and are saved merged and apart."""

from __future__ import annotations

import pytest
import torch
from homemade import small_config, small_model, write_small
from test_packed_learner import SCHEDULE, small_batch

from molmo_model.weights import empty_model, load_model, published_tensors
from molmo_training.learner import PackedLearner
from molmo_training.lora import Lora, adapt, is_adapted
from molmo_training.state import model_of, published_weights
from molmo_training.trainer import TrainConfig, Trainer


def logits(model):
    batch = small_batch()
    with torch.no_grad():
        return model(
            *(torch.from_numpy(a) for a in (batch.text.ids, batch.crops, batch.masks, batch.index))
        )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A trainer of adapters after a few steps, and its directory."""
    directory = tmp_path_factory.mktemp("lora")
    write_small(directory / "start")
    model = load_model(directory / "start")
    before = logits(model)
    adapt(model, Lora(rank=4, alpha=8))
    assert torch.equal(logits(model), before)
    config = TrainConfig(schedule=SCHEDULE)
    trainer = Trainer(PackedLearner(model, mixed=False), config, directory / "run")
    for step in range(4):
        trainer.train_step([small_batch(seed=step)])
    assert trainer.save()
    assert not torch.allclose(logits(model), before, atol=1e-3)
    return trainer, directory


def test_only_adapters_of_linear_layers_train(trained):
    model = trained[0].model
    names = {n for n, p in model.named_parameters() if p.requires_grad}
    assert all(".lora_" in name for name in names)
    layers = {name.partition(".lora_")[0].rpartition(".")[2] for name in names}
    assert layers == {
        "att_proj",
        "attn_out",
        "ff_proj",
        "ff_out",
        "wq",
        "wk",
        "wv",
        "wo",
        "w1",
        "w2",
    }
    assert "transformer.ff_out.lora_A.default.weight" not in names


def test_the_base_stays_as_it_was(trained):
    trainer, directory = trained
    own = dict(trainer.model.named_parameters())
    for name, weight in load_model(directory / "start").named_parameters():
        path, _, leaf = name.rpartition(".")
        kept = own[name] if name in own else own[f"{path}.base_layer.{leaf}"]
        assert torch.equal(kept, weight), name


def test_the_merged_checkpoint_answers_like_the_adapters(trained):
    trainer, directory = trained
    merged = load_model(directory / "run" / "last")
    assert not is_adapted(merged)
    torch.testing.assert_close(logits(merged), logits(trainer.model), rtol=1e-4, atol=1e-5)


def test_peft_reads_the_adapter(trained):
    from peft import PeftModel

    trainer, directory = trained
    model = load_model(directory / "start")
    found = PeftModel.from_pretrained(model, str(directory / "run" / "last" / "adapter"))
    torch.testing.assert_close(logits(found), logits(trainer.model), rtol=1e-5, atol=1e-6)


def test_saved_weights_are_those_of_the_config(trained):
    saved = published_weights(trained[0].model)
    wanted = published_tensors(empty_model(small_config()))
    assert {n: (t.shape, t.dtype) for n, t in saved.items()} == {
        n: (t.shape, t.dtype) for n, t in wanted.items()
    }


def test_weights_make_the_model_again():
    torch.manual_seed(0)
    model = small_model()
    again = model_of(published_weights(model), model.config)
    assert torch.equal(logits(again), logits(model.eval()))
