"""Trains a small tokenizer for a small Molmo.

It cuts text as Qwen2 does (markup, words and single digits apart), so that its token counts mean
what those of the published models mean. Knows nothing of scenes: it learns from texts.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from molmo_model.config import ImageTokens
from molmo_model.text import END_OF_TEXT, qwen2_tokenizer


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Byte pairs merged until every word of the texts is whole or vocab_size is reached.

    The end of text is the first token; the image tokens follow the vocabulary, as in the
    published models. Any text can be encoded: all 256 bytes are tokens.
    """
    tokenizer = qwen2_tokenizer(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([*ImageTokens.NAMES, "<|image|>"])
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, directory: Path) -> None:
    """Writes tokenizer.json beside a checkpoint."""
    part = directory / "tokenizer.json.part"
    tokenizer.save(str(part))
    part.replace(directory / "tokenizer.json")
