"""What a checkpoint holds: the model in the published layout, and what a run needs to go on.

    config.json, model.safetensors (, tokenizer.json)   a checkpoint like the published ones
    adapter/                                            with LoRA: the same as an adapter for peft
    state/trainer.json                                  the step, and other numbers
    state/part-00000.safetensors, ...                   moments of the weights, of each process

Nothing is pickled. A run may go on with another number of processes than it was saved by.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from json import JSONDecodeError
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from molmo_model.config import MolmoConfig
from molmo_model.molmo import Molmo
from molmo_model.weights import (
    WeightsError,
    empty_model,
    published_name,
    save_tensors,
    stored_tensors,
)
from molmo_training.distributed import Worker, is_sharded, like, own_part, whole
from molmo_training.learner import Learner
from molmo_training.lora import adapter_weights, is_adapted, merged_weights, save_adapter
from molmo_training.optimizers import Optimizers

STATE, FACTS, WEIGHT = "state", "trainer.json", "weight"


class StateError(ValueError):
    """A checkpoint that this run cannot go on from."""


@dataclass(frozen=True)
class Facts:
    """Where a run stands.

    step:    the next one
    refused: steps in a row whose gradients were not finite
    skipped: pictures so far that could not be had
    best:    the best score so far
    """

    step: int = 0
    refused: int = 0
    skipped: int = 0
    best: float | None = None


class Snapshot:
    """A run at one step, put together by all processes, to be written by each."""

    def __init__(self, learner: Learner, optimizers: Optimizers, worker: Worker):
        self.model, self.worker = learner.model, worker
        self.published = published_weights(self.model, keep=worker.rank == 0)
        self.adapter = adapter_weights(self.model)
        owns = worker.rank == 0 or is_sharded(learner)
        self.own = dict(_own_tensors(learner, optimizers)) if owns else {}

    def write(self, directory: Path, facts: Facts, extras: Path) -> None:
        """Writes this process's files; extras: where the tokenizer lies."""
        state = directory / STATE
        state.mkdir(exist_ok=True)
        if self.own:
            save_file(self.own, state / f"part-{self.worker.rank:05d}.safetensors")
        if self.worker.rank != 0:
            return
        save_tensors(self.published, self.model.config, directory)
        (state / FACTS).write_text(json.dumps(asdict(facts), indent=2) + "\n")
        if (extras / "tokenizer.json").exists():
            shutil.copyfile(extras / "tokenizer.json", directory / "tokenizer.json")
        if self.adapter:
            save_adapter(self.model, self.adapter, directory / "adapter")


def published_weights(model: Molmo, keep: bool = True) -> dict[str, Tensor]:
    """Whole weights by their published names; all processes must call, some need not keep."""
    found = {}
    for name, weight in merged_weights(model):
        full = whole(weight)
        if keep:
            found[published_name(name, model.config)] = full.detach().cpu()
    return found


def whole_model(model: Molmo, worker: Worker) -> Molmo | None:
    """A model in one piece, for the first process; all must call."""
    if not is_sharded(model):
        return model if worker.rank == 0 else None
    tensors = published_weights(model, keep=worker.rank == 0)
    if worker.rank != 0:
        return None
    on_gpu = worker.device.type == "cuda"
    dtype = torch.bfloat16 if on_gpu else torch.float32
    return model_of(tensors, model.config).to(worker.device, dtype)


def model_of(tensors: dict[str, Tensor], config: MolmoConfig) -> Molmo:
    """A model made of weights by their published names."""
    model = empty_model(config)
    own = {published_name(name, config): name for name, _ in model.named_parameters()}
    model.load_state_dict({own[name]: tensor for name, tensor in tensors.items()}, assign=True)
    return model.eval()


def restore(directory: Path, learner: Learner, optimizers: Optimizers) -> Facts:
    """Sets weights and moments to those of a checkpoint; says where it stands."""
    try:
        return _restored(directory, learner, optimizers)
    except (SafetensorError, WeightsError, TypeError, LookupError, JSONDecodeError) as error:
        raise StateError(
            f"{directory}: cannot be read ({error}). Delete it, and the run goes on from another "
            "step-* beside it, or begins again"
        ) from error


def _restored(directory: Path, learner: Learner, optimizers: Optimizers) -> Facts:
    facts = Facts(**json.loads((directory / STATE / FACTS).read_text()))
    if not is_adapted(learner.model):  # what an adapter was merged into cannot be told apart
        load_weights(learner.model, directory)
    trained = {n: p for n, p in learner.named_parameters() if p.requires_grad}
    with ExitStack() as stack:
        paths = sorted((directory / STATE).glob("part-*.safetensors"))
        files = [stack.enter_context(safe_open(path, "pt")) for path in paths]
        for key in files[0].keys():  # noqa: SIM118 - safe_open is not a dict
            kind, _, name = key.partition("/")
            if name not in trained:
                raise StateError(
                    f"{directory}: was saved by a run that trains {name}, this one does not. "
                    "Start it with the same options, or give it another --output"
                )
            parts = [file.get_tensor(key) for file in files]
            full = torch.cat(parts) if parts[0].ndim else parts[0]
            _put(kind, trained[name], full, optimizers)
    return facts


def load_weights(model: Molmo, directory: Path) -> None:
    """Fills a model that is there already, sharded or not."""
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, stored in stored_tensors(directory, model.config).items():
            own = parameters[name]
            own_part(own).copy_(own_part(like(stored.read(), own)))


def _put(kind: str, parameter: nn.Parameter, full: Tensor, optimizers: Optimizers) -> None:
    if kind == WEIGHT:
        with torch.no_grad():
            own_part(parameter).copy_(own_part(like(full, parameter)))
    else:  # a number (how often it moved) stays where it is read
        optimizers.memory(parameter)[kind] = like(full, parameter) if full.ndim else full


def _own_tensors(learner: Learner, optimizers: Optimizers) -> Iterator[tuple[str, Tensor]]:
    """This process's parts of all moments, and of weights that the published layout lacks."""
    model = learner.model
    published = set() if is_adapted(model) else {id(p) for p in model.parameters()}
    for name, parameter in learner.named_parameters():
        if not parameter.requires_grad:
            continue
        held = dict(optimizers.memory(parameter))
        if id(parameter) not in published:
            held[WEIGHT] = parameter
        for kind, value in held.items():
            yield f"{kind}/{name}", own_part(value.detach()).cpu().contiguous()
