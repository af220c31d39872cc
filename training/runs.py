"""Runs a recipe: opens its data, prepares the model, trains, and goes on where it was stopped.

The same in one process and in those that torchrun starts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch.utils.checkpoint import checkpoint

from molmo_model.config import MolmoConfig
from molmo_model.molmo import Molmo
from molmo_model.text import Prompter, load_tokenizer
from molmo_model.weights import load_model
from molmo_training.distributed import Worker, joined, shard
from molmo_training.examples import ExampleMaker
from molmo_training.judge import TaskJudge
from molmo_training.learner import PackedLearner
from molmo_training.loading import LoadedSteps
from molmo_training.lora import Lora, adapt
from molmo_training.mixture import Mixture, MixtureExamples, names_of, without
from molmo_training.optimizers import COMPONENTS
from molmo_training.recipes import Recipe
from molmo_training.records import Record
from molmo_training.sources.catalog import open_sets
from molmo_training.store import DiskStore
from molmo_training.tasks import find_task
from molmo_training.tokenizer import save_tokenizer
from molmo_training.trainer import Trainer
from molmo_training.watch import watching, write_run


@dataclass(frozen=True, kw_only=True)
class Options:
    """Where things are, and what a run does otherwise than its recipe.

    start:      a checkpoint in the published layout
    data:       a directory with local copies of the sets, or your own data; None asks the hub
    store:      of `molmo collect`, with the pictures of the web; None where no set needs any
    rate:       where the learning rates of all components rise to
    without:    sets that cannot be had
    lora:       rank of adapters; None trains all weights
    task:       of `molmo eval`, keeps the best checkpoint; judged: how many of its examples
    is_compiled: blocks are compiled by torch
    loaders:    processes that read pictures, for each that trains
    """

    start: Path
    output: Path
    data: Path | None = None
    store: Path | None = None
    steps: int | None = None
    batch: int | None = None
    micro_batch: int | None = None
    rate: float | None = None
    without: tuple[str, ...] = ()
    lora: int | None = None
    task: str | None = None
    judged: int = 200
    is_compiled: bool = False
    loaders: int = 2


def run(recipe: Recipe, options: Options) -> bool:
    """Trains to the last step; returns False when it was asked to stop before."""
    names = names_of(without(recipe.groups, options.without))
    sets = open_sets(names, options.data)
    recipe = adjusted(recipe, options, sets)
    with joined() as worker:
        config = MolmoConfig.from_json(options.start / "config.json")
        tokenizer = load_tokenizer(options.start)
        if worker.rank == 0:
            options.output.mkdir(parents=True, exist_ok=True)
            save_tokenizer(tokenizer, options.output)
            write_run(options.output, {"recipe": asdict(recipe), "options": asdict(options)})
        prompter, schedule = Prompter(tokenizer, config), recipe.training.schedule
        store = DiskStore(options.store) if options.store else None
        maker = ExampleMaker(prompter, config, recipe.form, store=store, length=recipe.length)
        sizes = {name: len(one) for name, one in sets.items()}
        mixture = Mixture(recipe.groups, sizes, recipe.data_seed)
        steps = LoadedSteps(
            MixtureExamples(mixture, sets, maker),
            schedule.steps,
            recipe.batch,
            recipe.micro_batch,
            options.loaders,
        )
        learner = prepared(load_model(options.start), recipe, options, worker)
        trainer = Trainer(learner, recipe.training, options.output, worker)
        trainer.resume()
        with watching(options.output, config, schedule, worker, trainer.step) as watcher:
            return trainer.train(steps.at, watcher, judge_of(options, prompter))


def adjusted(recipe: Recipe, options: Options, sets: Mapping[str, Sequence[Record]]) -> Recipe:
    """A recipe with what the options say, and the steps that its data make."""
    recipe = replace(
        recipe,
        groups=without(recipe.groups, options.without),
        batch=options.batch or recipe.batch,
        micro_batch=options.micro_batch or recipe.micro_batch,
    )
    steps = options.steps or recipe.steps(sum(len(one) for one in sets.values()))
    schedule = replace(recipe.training.schedule, steps=steps)
    if options.rate is not None:
        connector, vit, decoder = (
            replace(schedule.rate_of(name), peak=options.rate) for name in COMPONENTS
        )
        schedule = replace(schedule, connector=connector, vit=vit, decoder=decoder)
    return replace(recipe, training=replace(recipe.training, schedule=schedule))


def prepared(model: Molmo, recipe: Recipe, options: Options, worker: Worker) -> PackedLearner:
    """A model ready to learn: what trains, what is recomputed, where its weights are."""
    if not recipe.train_embedding:
        model.transformer.wte.embedding.requires_grad_(False)
    if options.lora:
        torch.manual_seed(recipe.training.seed)  # all processes draw the same adapters
        adapt(model, Lora(rank=options.lora, alpha=2 * options.lora))
    learner = PackedLearner(model, dropout=recipe.dropout)
    if options.is_compiled:  # what is recomputed is the compiled layer
        for block in blocks_of(model):
            block.forward = torch.compile(block.forward)
    recompute_layers(model)
    if worker.ranks > 1:
        shard(learner, model)
    return learner.to(worker.device)


def recompute_layers(model: Molmo) -> None:
    """Keeps of every layer its input alone; the rest is computed again for its gradient."""
    for block in blocks_of(model):
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)


def blocks_of(model: Molmo) -> list[torch.nn.Module]:
    """The layers of decoder and ViT."""
    return [*model.transformer.blocks, *model.vision_backbone.image_vit.transformer.resblocks]


def judge_of(options: Options, prompter: Prompter) -> TaskJudge | None:
    """Who judges the model, if a task is named."""
    if options.task is None:
        return None
    task = find_task(options.task)
    examples = task.examples(options.data, options.judged, 0)
    return TaskJudge(examples, task.score, prompter, task.max_new_tokens)
