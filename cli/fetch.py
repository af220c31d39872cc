"""`molmo fetch`: brings a published checkpoint here and checks it, once, for those with a network.

Nothing that runs on a robot calls it, and no model is ever fetched by itself.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

# Of a repository only what is read here: no program code, no weights for other frameworks.
FILES = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "model*.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",  # of the mixture of experts, which has no safetensors
)
TOKENIZER = "tokenizer.json"


class FetchError(OSError):
    """A model that did not arrive."""


def fetch(
    source: Annotated[
        str, typer.Argument(help="A model of the Hugging Face hub, or a directory to check.")
    ],
    to: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="Where to put it; default: the hub's own cache."),
    ] = None,
) -> None:
    """Fetch a checkpoint from the Hugging Face hub and check it; prints its directory.

    A broken connection is taken up again; files that arrived are not fetched twice.

    Example:  molmo fetch allenai/Molmo-7B-D-0924
    """
    if to is not None and Path(source).is_dir():
        raise typer.BadParameter(f"{source} is a directory: it is checked where it is, no --to")
    directory = Path(source) if Path(source).is_dir() else download(source, to)
    typer.echo(check(directory), err=True)
    typer.echo(directory)


def download(model_id: str, to: Path | None) -> Path:
    """The directory with all files of a model, fetched or there already."""
    from huggingface_hub import errors, snapshot_download

    try:
        return Path(snapshot_download(model_id, local_dir=to, allow_patterns=list(FILES)))
    except (errors.HFValidationError, errors.RepositoryNotFoundError) as error:
        raise FetchError(
            f"{model_id}: no directory here, and no model that the hub shows you; "
            "an id is OWNER/NAME, like allenai/Molmo-7B-D-0924"
        ) from error
    except (OSError, errors.HTTPError) as error:  # type: ignore[attr-defined]  # its transport's
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise FetchError(
            f"{model_id}: not all of it arrived ({reason}). Is there a network, and room on the "
            "disk? The same command keeps the files that are here and fetches the others"
        ) from error


def check(directory: Path) -> str:
    """Compares tokenizer and tensors with config.json, by headers alone; says what is there.

    Writes tokenizer.json where there are only the vocabulary files that it is made from.
    """
    from molmo_model.text import Prompter, load_tokenizer
    from molmo_model.weights import load_model, weight_files

    model = load_model(directory, device="meta")  # compares all, reads no tensor
    tokenizer = load_tokenizer(directory)
    Prompter(tokenizer, model.config)
    if not (directory / TOKENIZER).exists():
        tokenizer.save(str(directory / f"{TOKENIZER}.part"))
        os.replace(directory / f"{TOKENIZER}.part", directory / TOKENIZER)
    count = sum(parameter.numel() for parameter in model.parameters())
    files = len(weight_files(directory))
    return f"{count / 1e6:,.1f} million parameters in {files} file(s), as config.json wants them"
