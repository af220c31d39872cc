"""The processes that train together: who this one is, how weights are shared, sums over all.

Under torchrun every process sees a part of each batch and keeps a part of every weight (FSDP2);
alone, a process keeps everything and nothing is sent. Knows no data and no loss.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from molmo_model.molmo import Molmo

# One process saves or judges while the others wait: for 7B that takes minutes.
PATIENCE = timedelta(hours=2)


@dataclass(frozen=True)
class Worker:
    """This process among those that train together."""

    rank: int = 0
    ranks: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def sum(self, value: Tensor) -> Tensor:
        """Adds a tensor up over all processes, in place."""
        if self.ranks > 1:
            dist.all_reduce(value)
        return value

    def all_agree(self, is_fine: bool) -> bool:
        """Whether something went well in every process; all of them wait for the answer."""
        return float(self.sum(torch.tensor(float(not is_fine), device=self.device))) == 0

    def told(self, value: float) -> float:
        """What the first process says, to all."""
        said = torch.tensor(value, dtype=torch.float64, device=self.device)
        if self.ranks > 1:
            dist.broadcast(said, 0)
        return float(said)


@contextmanager
def joined() -> Iterator[Worker]:
    """Joins the processes that torchrun started; a process that it did not start is alone."""
    has_gpu = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if has_gpu else None
    if device:
        torch.cuda.set_device(device)
    device = device or torch.device("cpu")
    if "WORLD_SIZE" not in os.environ:
        yield Worker(device=device)
        return
    dist.init_process_group("nccl" if has_gpu else "gloo", timeout=PATIENCE)
    try:
        yield Worker(dist.get_rank(), dist.get_world_size(), device)
    finally:
        dist.destroy_process_group()


def shard(root: nn.Module, model: Molmo) -> None:
    """Leaves each process a part of every weight; parts meet where a layer needs them.

    Gathered one block at a time, so that no process holds all. Gradients are added up, not
    averaged: the loss is divided by the weight of the whole batch already.
    """
    transformer, backbone = model.transformer, model.vision_backbone
    parts: list[nn.Module] = [*transformer.blocks, *backbone.image_vit.transformer.resblocks]
    parts += [transformer.wte, transformer.ff_out, backbone.image_projector]
    for part in [*parts, root]:
        fully_shard(part)
    for module in root.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)


def is_sharded(module: nn.Module) -> bool:
    """Whether processes keep parts of the weights."""
    return any(isinstance(parameter, DTensor) for parameter in module.parameters())


def whole(tensor: Tensor) -> Tensor:
    """A tensor put together from the parts of all processes, all of which must call."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def own_part(tensor: Tensor) -> Tensor:
    """What this process keeps of a tensor."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def like(full: Tensor, model: Tensor) -> Tensor:
    """A whole tensor laid out as another: on its device, cut into the same parts."""
    full = full.to(model.device)
    if not isinstance(model, DTensor):
        return full
    return distribute_tensor(full, model.device_mesh, model.placements, src_data_rank=None)
