"""A sharded checkpoint of random weights, and the memory that handling it takes."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from molmo_model.config import CropConfig, DecoderConfig, MolmoConfig, VisionConfig
from molmo_model.weights import INDEX, empty_model, published_tensors

LAYER_GB = 0.0514  # of the decoder below, in float32


def config_of(size_gb: float) -> MolmoConfig:
    """A dense Molmo of about this size in float32, almost all of it decoder layers."""
    return MolmoConfig(
        decoder=DecoderConfig(
            vocab_size=4096,
            embedding_size=4096,
            width=1024,
            mlp=2816,
            layers=round(size_gb / LAYER_GB),
            heads=16,
            kv_heads=16,
            norm_eps=1e-6,
            rope_theta=1e6,
        ),
        vision=VisionConfig(width=64, heads=1, mlp=64, layers=2, features=(-1,)),
        crops=CropConfig(max_crops=1),
    )


def write_checkpoint(config: MolmoConfig, directory: Path, count: int) -> int:
    """Writes float32 shards of about the same size; returns the bytes of the largest."""
    model = empty_model(config)
    shapes = {name: tensor.shape for name, tensor in published_tensors(model).items()}
    limit = sum(shape.numel() for shape in shapes.values()) / count
    shards: list[list[str]] = [[]]
    for name in shapes:
        if sum(shapes[other].numel() for other in shards[-1]) >= limit:
            shards.append([])
        shards[-1].append(name)
    places = {}
    for number, names in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        save_file({name: random_tensor(shapes[name]) for name in names}, directory / file)
        places |= dict.fromkeys(names, file)
    (directory / INDEX).write_text(json.dumps({"weight_map": places}))
    config.to_json(directory / "config.json")
    return max(file.stat().st_size for file in directory.glob("model-*.safetensors"))


def random_tensor(shape: torch.Size) -> Tensor:
    """Weights as a training begins with: nothing grows from layer to layer."""
    return torch.ones(shape) if len(shape) == 1 else torch.randn(shape).mul_(0.02)


def peak_memory() -> int:
    """Most resident bytes of this process so far; getrusage would count its parent's too."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status: no VmHWM in it; this needs Linux")
