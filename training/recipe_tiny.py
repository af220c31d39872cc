"""The recipe of Molmo-tiny: a whole Molmo of two million parameters for the simulated table.

Trained from nothing, by two processes on two CPU cores within about an hour. Weights this small
are not shared: each process keeps all of them.
"""

from __future__ import annotations

import os
import signal
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from molmo_model.config import CropConfig, DecoderConfig, MolmoConfig, VisionConfig
from molmo_model.molmo import Molmo
from molmo_model.text import TEMPLATE, Prompter, load_tokenizer
from molmo_sim.scene import COLOURS
from molmo_training.alignment import Alignment
from molmo_training.batches import SceneBatches
from molmo_training.distributed import Worker
from molmo_training.initial import initialise
from molmo_training.optimizers import Rate, Schedule
from molmo_training.scene_learner import SceneLearner
from molmo_training.scenes import RenderedScenes, SceneSet, render_scenes
from molmo_training.tokenizer import save_tokenizer, train_tokenizer
from molmo_training.trainer import SEED, TrainConfig, Trainer
from molmo_training.watch import watching, write_run

TINY_SCENES = SceneSet(count=12_000)
TINY_TRAINING = TrainConfig(
    schedule=Schedule(
        steps=7_400,
        cooldown=900,
        connector=Rate(1.2e-3),
        vit=Rate(1.2e-3),
        decoder=Rate(1.2e-3),
        matrices=Rate(0.01),
    ),
    alignment=1.5,
)
TINY_BATCH, TINY_TEXT_TOKENS, TINY_POINTING_STEPS = 16, 160, 2_200


def tiny_config(vocab_size: int) -> MolmoConfig:
    """The shape of Molmo-tiny: the published network, small in every direction."""
    return MolmoConfig(
        crops=CropConfig(size=224, margins=(2, 2), max_crops=1),
        vision=VisionConfig(width=128, heads=4, head_dim=32, mlp=512, layers=4, features=(-1, -3)),
        decoder=DecoderConfig(
            vocab_size=vocab_size,
            embedding_size=vocab_size,
            additional_vocab_size=8,
            width=128,
            mlp=384,
            layers=4,
            heads=4,
            kv_heads=2,
            norm_eps=1e-6,
            rope_theta=1e6,  # as published: most of a head keeps what it says over any distance
            max_positions=512,
        ),
    )


def molmo_tiny(output: Path, *, processes: int = 2) -> None:
    """Renders the scenes, trains the tokenizer and the model; goes on where it was interrupted."""
    output.mkdir(parents=True, exist_ok=True)
    scenes = render_scenes(output / "scenes", TINY_SCENES, tiny_config(256), processes)
    if not (output / "tokenizer.json").exists():
        save_tokenizer(train_tokenizer(_texts(scenes), vocab_size=600), output)
    write_run(output, {"recipe": "molmo-tiny", **asdict(TINY_TRAINING)})
    if processes == 1:
        _train_tiny(0, 1, output)
    else:
        together = spawn(_train_tiny, (processes, output), nprocs=processes, join=False)
        pids = together.pids()

        def pass_on(number: int, frame: object) -> None:
            for pid in pids:
                os.kill(pid, number)

        signal.signal(signal.SIGTERM, pass_on)
        while not together.join():
            pass


def _train_tiny(rank: int, ranks: int, output: Path) -> None:
    """One process of the run."""
    torch.set_num_threads(1)
    if ranks > 1:
        rendezvous = f"file://{(output / 'rendezvous').absolute()}.{os.getppid()}"
        dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=ranks)
    tokenizer = load_tokenizer(output)
    config = tiny_config(tokenizer.get_vocab_size(with_added_tokens=False))
    scenes = render_scenes(output / "scenes", TINY_SCENES, config, 1)
    torch.manual_seed(SEED)  # all processes start from the same weights
    model, alignment = Molmo(config), Alignment(tokenizer, config.decoder.width)
    initialise(model, _patches(scenes))
    batches = SceneBatches(
        scenes,
        Prompter(tokenizer, config),
        config.crops,
        batch=TINY_BATCH,
        text_tokens=TINY_TEXT_TOKENS,
        seed=SEED,
        pointing_steps=TINY_POINTING_STEPS,
    )
    learner, worker = SceneLearner(model, alignment), Worker(rank, ranks)
    trainer = Trainer(learner, TINY_TRAINING, output, worker)
    trainer.resume()
    with watching(output, config, TINY_TRAINING.schedule, worker, trainer.step) as watcher:
        trainer.train(lambda *place: [batches.at(*place)], watcher)
    if ranks > 1:
        dist.destroy_process_group()


def _patches(scenes: RenderedScenes) -> Tensor:
    """Patches of some scenes, (N, 588)."""
    some = np.arange(0, len(scenes), max(1, len(scenes) // 300))
    return torch.from_numpy(scenes.crops(some)).flatten(0, 1)


def _texts(scenes: RenderedScenes) -> list[str]:
    """What the tokenizer learns from: questions and answers of some scenes."""
    questions = [q for truth in scenes.truths[:2_000] for q in truth.questions]
    colours = [f" {colour}" for colour in COLOURS]
    return [TEMPLATE.format(prompt=p) + f" {a}" for _, p, a in questions] + colours
