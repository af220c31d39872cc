"""Greedy decoding, several tokens a pass: written once, above any `Runtime`.

A pass reads the newest token and a few guessed ones behind it. The logits of each say what the
model writes next; the guesses that are just that stand, and the first wrong one ends the pass.
So the tokens are those of reading one by one, in fewer passes. Knows no text.

n tokens of a pass, V vocabulary
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from molmo_engine.drafting import Drafter
from molmo_engine.markup import Markup
from molmo_engine.runtime import STEP, Floats, Runtime


@dataclass(frozen=True)
class Chosen:
    """A token and its probability."""

    token: int
    probability: float


@dataclass(kw_only=True)
class Decoding:
    """One answer.

    prompt:  tokens that the runtime has read
    limit:   the most tokens that the answer may have
    stop:    ids that end it
    drafter: guesses what comes; None = token by token
    markup:  what tokens may stand; None = all
    """

    runtime: Runtime
    prompt: int
    limit: int
    stop: frozenset[int]
    drafter: Drafter | None = None
    markup: Markup | None = None
    passes: int = 1  # of the decoder, the prompt's included

    def tokens(self, logits: Floats, check: Callable[[], None]) -> Iterator[Chosen]:
        """What follows the prompt, whose last logits are (V,); the stop token is left out.

        check is called before each token and each pass, and raises to end the answer.
        """
        written = 0
        chosen = self._choose(logits[None], [])
        while True:
            for one in chosen:
                check()
                if one.token in self.stop:
                    return
                yield one
                written += 1
                if written == self.limit:
                    return
            check()
            chosen = self._read(chosen[-1].token, written)

    def _read(self, token: int, written: int) -> list[Chosen]:
        """One pass: reads the newest token, and guesses behind it."""
        drafts: list[int] = []
        if self.drafter is not None:
            drafts = self.drafter.draft(min(STEP, self.limit - written) - 1)
        self.runtime.rewind(self.prompt + written - 1)  # what was guessed wrong
        self.passes += 1
        return self._choose(self.runtime.step(np.array([token, *drafts])), drafts)

    def _choose(self, rows: Floats, drafts: list[int]) -> list[Chosen]:
        """The tokens that the logits (n, V) behind the newest token and the drafts (n - 1) give.

        All at once: the logits are gone with the next call of the runtime.
        """
        chosen = []
        for row, draft in zip(rows, [*drafts, None], strict=True):
            token = int(row.argmax()) if self.markup is None else self.markup.choose(row)
            chosen.append(Chosen(token, _probability(row, token)))
            for listener in (self.drafter, self.markup):
                if listener is not None:
                    listener.add(token)
            if token != draft or token in self.stop:
                break
        return chosen


def _probability(logits: Floats, token: int) -> float:
    """The softmax (V,) at one token; raises when the engine's numbers are not finite."""
    top = logits.max()
    if not np.isfinite(top):
        raise FloatingPointError(
            "the engine computed no finite numbers: the activations do not fit its precision; "
            "export the model with precision='fp32'"
        )
    return float(np.exp(logits[token] - top) / np.exp(logits - top).sum())
