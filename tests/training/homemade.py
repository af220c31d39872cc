"""A small data set of our own pictures, and small Molmos to train on it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from molmo_model.config import MolmoConfig
from molmo_model.molmo import Molmo
from molmo_model.text import load_tokenizer
from molmo_model.weights import save_model
from molmo_training.mixture import Group
from molmo_training.optimizers import Rate, Schedule
from molmo_training.recipes import Recipe
from molmo_training.tokenizer import save_tokenizer
from molmo_training.trainer import TrainConfig

SHIPPED = Path(__file__).parents[2] / "assets" / "molmo-tiny"
PICTURES = 8


def write_my_data(directory: Path, broken: int = 0) -> Path:
    """A folder of our own pictures; the first ones may break off."""
    directory.mkdir(parents=True)
    rng = np.random.default_rng(0)
    lines = []
    for number in range(PICTURES):
        name = f"{number}.png"
        picture = rng.integers(0, 255, (60, 80, 3), np.uint8)
        Image.fromarray(picture).save(directory / name)
        if number < broken:
            data = (directory / name).read_bytes()
            (directory / name).write_bytes(data[:99])
        lines.append({"image": name, "question": "Which?", "answer": f"It is {number}."})
        lines.append({"image": name, "label": "cube", "points": [{"x": 9 * number, "y": 30}]})
    (directory / "data.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return directory


def write_small(directory: Path) -> Path:
    """A checkpoint of two narrow layers with the shipped tokenizer."""
    torch.manual_seed(0)
    save_model(small_model(), directory)
    save_tokenizer(load_tokenizer(SHIPPED), directory)
    return directory


def small_config() -> MolmoConfig:
    shipped = MolmoConfig.from_json(SHIPPED / "config.json")
    return replace(
        shipped,
        vision=replace(shipped.vision, layers=3, width=32, mlp=64, heads=2, head_dim=16),
        decoder=replace(shipped.decoder, layers=2, width=32, mlp=48, heads=4, kv_heads=2),
    )


def small_model() -> Molmo:
    """Random weights, drawn from torch's generator as it stands."""
    model = Molmo(small_config())
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return model


def small_recipe(steps: int, **training: float) -> Recipe:
    """A few steps of the recipe for our own pictures."""
    schedule = Schedule(
        steps=steps, connector=Rate(1e-3, 2), vit=Rate(1e-3, 3), decoder=Rate(1e-3, 3)
    )
    return Recipe(
        groups=(Group(1.0, {"my-data": None}),),
        data_seed=5,
        form="chat",
        training=TrainConfig(schedule=schedule, **training),
        batch=4,
        micro_batch=2,
        length=200,
    )
