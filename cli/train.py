"""`molmo train`: a training run by the name of its recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


class RecipeError(ValueError):
    """A recipe that does not exist."""


def train(
    recipe: Annotated[str, typer.Argument(help="Of training/recipes.py, like 'molmo-tiny'.")],
    output: Annotated[
        Path | None, typer.Option(help="Where checkpoints go; runs/RECIPE when not given.")
    ] = None,
) -> None:
    """Train a model. What a run does is in its recipe, a function in training/recipes.py.

    A run that was stopped goes on where its last checkpoint stands.

    Example:  molmo train molmo-tiny --output runs/tiny
    """
    from molmo_training.recipes import RECIPES

    if recipe not in RECIPES:
        raise RecipeError(f"no recipe is called {recipe!r}; there are: {', '.join(RECIPES)}")
    RECIPES[recipe](output or Path("runs") / recipe)
