"""`molmo train`: a training run by the name of its recipe."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer


class RecipeError(ValueError):
    """A recipe that does not exist, or that wants something else."""


def train(
    recipe: Annotated[str, typer.Argument(help="captions, sft, my-data or molmo-tiny.")],
    start: Annotated[
        Path | None,
        typer.Option("--from", exists=True, file_okay=False, help="A checkpoint to start from."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(exists=True, help="A folder with the data sets, or with your own pictures."),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Of a bag, if --data is one."),
    ] = None,
    image: Annotated[
        str | None, typer.Option(help="The bag's topic; found when there is one.")
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="Pictures that molmo collect fetched."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Where checkpoints go; runs/RECIPE when not given.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="As many, not the recipe's.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Rows a step, of all GPUs.")] = None,
    micro_batch: Annotated[int | None, typer.Option(min=1, help="Rows at once on a GPU.")] = None,
    rate: Annotated[
        float | None, typer.Option(min=0, help="Peak learning rate, not the recipe's.")
    ] = None,
    lora: Annotated[int | None, typer.Option(min=1, help="Train adapters of this rank.")] = None,
    without: Annotated[
        list[str] | None, typer.Option(help="A set of the mixture that you do not have.")
    ] = None,
    judge: Annotated[
        str | None, typer.Option("--eval", help="A task of molmo eval: keeps the best.")
    ] = None,
    compiled: Annotated[bool, typer.Option("--compile", help="Compile layers by torch.")] = False,
) -> None:
    """Train a model. What a run does is in its recipe, a function in training/recipes.py.

    captions and sft are the two published stages, my-data is fine-tuning on your own pictures: a
    folder with a data.jsonl, such a file, or a bag and the labels of its images.
    molmo-tiny trains the demo's model from nothing. A run that was stopped goes on where its last
    checkpoint stands; SIGTERM saves one first. On several GPUs and machines the same under
    torchrun.

    Examples:  molmo train my-data --from allenai/Molmo-7B-D-0924 --data shelf --lora 16

    torchrun --nproc-per-node 8 --no-python molmo train sft --from runs/captions/last --data sets
    --store pictures

    molmo train molmo-tiny --output runs/tiny
    """
    from molmo_training.recipe_tiny import molmo_tiny
    from molmo_training.recipes import RECIPES
    from molmo_training.runs import Options, run

    output = output or Path("runs") / recipe
    if recipe == "molmo-tiny":
        others = (start, data, labels, image, store, steps, batch, micro_batch, rate, lora)
        if any((*others, without, judge, compiled)):
            raise RecipeError(
                f"{recipe} is trained from nothing as it was: give it --output alone"
            )
        molmo_tiny(output)
        return
    if recipe not in RECIPES:
        names = ", ".join((*RECIPES, "molmo-tiny"))
        raise RecipeError(f"no recipe is called {recipe!r}; there are: {names}")
    if start is None:
        raise RecipeError(f"{recipe} goes on from a checkpoint: name it with --from DIR")
    with ExitStack() as stack:
        options = Options(
            start=start,
            output=output,
            data=stack.enter_context(_labelled(data, labels, image, output)) if labels else data,
            store=store,
            steps=steps,
            batch=batch,
            micro_batch=micro_batch,
            rate=rate,
            lora=lora,
            without=tuple(without or ()),
            task=judge,
            is_compiled=compiled,
        )
        run(RECIPES[recipe](), options)


@contextmanager
def _labelled(bag: Path | None, labels: Path, image: str | None, output: Path) -> Iterator[Path]:
    """The pictures of a bag that are labelled, in a folder that is there while the run lasts."""
    from molmo_ros.bag_pictures import take_labelled
    from molmo_training.sources.my_data import check_row

    if bag is None:
        raise RecipeError(f"{labels}: labels of which bag? Name it with --data BAG")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise RecipeError(
            f"many processes cannot share a bag: molmo frames {bag} DIR --labels {labels}, then "
            "--data DIR"
        )
    output.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".pictures.", dir=output) as folder:
        take_labelled(bag, Path(folder), labels, check_row, image)
        yield Path(folder)
