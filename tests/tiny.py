"""A Molmo of random weights with a tokenizer of single bytes: complete, and made in a moment."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from recipes import GOLDEN
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from molmo_model.config import ImageTokens, MolmoConfig
from molmo_model.text import END_OF_TEXT


def byte_tokenizer() -> Tokenizer:
    """A byte-level BPE without merges, and the special tokens of a Molmo."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=256, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([], trainer)
    names = [END_OF_TEXT, *ImageTokens.NAMES]
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in names])
    return tokenizer


def config_for(tokenizer: Tokenizer, variant: str = "tiny-qwen2") -> MolmoConfig:
    """A golden variant, one high-resolution crop, with this tokenizer's vocabulary."""
    golden = MolmoConfig.from_json(GOLDEN / variant / "config.json")
    size = tokenizer.token_to_id(ImageTokens.NAMES[0])
    return replace(
        golden,
        decoder=replace(golden.decoder, vocab_size=size, embedding_size=size),
        crops=replace(golden.crops, max_crops=1),
    )


def save_checkpoint(directory: Path, seed: int = 0, layers: int | None = None) -> Path:
    """Writes config, weights and tokenizer as a trainer would; returns the directory.

    layers: of the decoder, None = as the golden variant has them
    """
    import torch

    from molmo_model.molmo import Molmo
    from molmo_model.weights import save_model

    tokenizer = byte_tokenizer()
    torch.manual_seed(seed)
    config = config_for(tokenizer)
    deep = replace(config.decoder, layers=layers or config.decoder.layers)
    model = Molmo(replace(config, decoder=deep))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    save_model(model, directory)
    tokenizer.save(str(directory / "tokenizer.json"))
    return directory
