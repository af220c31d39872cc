"""A runtime that says a fixed answer, to test what stands above runtimes."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from tiny import byte_tokenizer, config_for
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers

from molmo_engine.predictor import Predictor
from molmo_engine.runtime import STEP
from molmo_model.config import ImageTokens
from molmo_model.text import END_OF_TEXT, Prompter, qwen2_tokenizer

RGB = np.random.default_rng(3).integers(0, 256, (300, 400, 3), np.uint8)
ONE = ' <point x="25.0" y="50.5" alt="mug">mug</point>'


class ScriptedRuntime:
    """Says a fixed answer, whatever it is asked; each token with probability `sure`.

    Behind a token that is not the answer's, the logits are no numbers.
    """

    name = "script"

    def __init__(
        self, tokens: list[int], vocabulary: int, sure: float = 0.9, capacity: int = 2000
    ):
        self.capacity = capacity
        self.tokens = tokens
        self.calls: list[str] = []
        rest = math.log(sure * (vocabulary - 1) / (1 - sure))
        self._logits = np.zeros((len(tokens), vocabulary), np.float32)
        self._logits[np.arange(len(tokens)), tokens] = rest

    def encode(self, crops, masks, index, tokens):
        self.calls.append("encode")
        return np.zeros((tokens, 1), np.float32)

    def prefill(self, ids, features, behind=None):
        self.calls.append("prefill")
        self._prompt = self._length = len(ids) + (0 if behind is None else len(behind))
        return self._logits[0]

    def step(self, ids):
        assert 1 <= len(ids) <= STEP
        self.calls.append("step")
        begin = self._length - self._prompt
        self._length += len(ids)
        assert self._length <= self.capacity
        rows = np.full((len(ids), self._logits.shape[1]), np.nan, np.float32)
        for row, said in enumerate(ids.tolist()):
            if self.tokens[begin + row] != said:
                assert row > 0
                break
            rows[row] = self._logits[begin + row + 1]
        return rows

    def rewind(self, length):
        assert self._prompt <= length <= self._length
        self._length = length

    def save(self, length):
        return np.empty(length)

    def close(self):
        self.calls.append("close")


def scripted(
    text: str, tokenizer: Tokenizer | None = None, frame_cache_mb: int = 1, **settings
) -> Predictor:
    """A predictor whose model answers `text` and stops."""
    tokenizer = tokenizer or byte_tokenizer()
    config = config_for(tokenizer)
    prompter = Prompter(tokenizer, config)
    tokens = [*prompter.text_ids(text), prompter.bos]
    runtime = ScriptedRuntime(tokens, config.decoder.vocab_size, **settings)
    return Predictor(runtime, prompter, config, model_id="scripted", frame_cache_mb=frame_cache_mb)


@cache
def word_tokenizer() -> Tokenizer:
    """Cuts markup, words and digits as the published tokenizers do."""
    tokenizer = qwen2_tokenizer(models.BPE())
    words = ' <point x="25.0" y="50.5" alt="red cube">red cube</point> There are none. <points x1='
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    more = " Counting the cubes shows a total of 2. Point to the green mugs, cups and balls."
    tokenizer.train_from_iterator([words, more] * 50, trainer)
    names = [END_OF_TEXT, *ImageTokens.NAMES]
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in names])
    return tokenizer
