"""Asks a picture a question: preprocessing, greedy decoding, points the moment they close.

The decoding loop is written here once, above any `Runtime`. Knows nothing of ROS, of files and
of what computes.

T tokens, V vocabulary
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from molmo_engine.clock import Clock
from molmo_engine.records import Answer, AskOptions, Done, Event, PointFound, Timings, Usage
from molmo_engine.runtime import Floats, Ints, Runtime
from molmo_engine.writing import Writing
from molmo_model.config import MolmoConfig
from molmo_model.image import ImageInputs, prepare_image
from molmo_model.text import Prompter, PromptError

Rgb = npt.NDArray[np.uint8]


class Predictor:
    """One model, one question at a time; not for several threads at once."""

    def __init__(
        self, runtime: Runtime, prompter: Prompter, config: MolmoConfig, *, model_id: str
    ) -> None:
        self.runtime = runtime
        self.prompter = prompter
        self.config = config
        self.model_id = model_id
        self._latest: _Question | None = None  # the runtime's cache belongs to it

    @property
    def engine_id(self) -> str:
        """What computes, for logs and answers."""
        return self.runtime.name

    def stream(self, rgb: Rgb, prompt: str, options: AskOptions | None = None) -> Iterator[Event]:
        """Answers piece by piece; the last event is Done. Closing the iterator cancels.

        rgb: (H, W, 3) uint8. Raises at once: ValueError for anything else, PromptError for an
        empty prompt or one that does not fit the engine.
        """
        clock = Clock()
        image = prepare_image(rgb, self.config)
        ids = self.prompter.encode(prompt, image.tokens)
        limit = self._room(len(ids), options or AskOptions())
        clock.end("preprocess_ms")
        question = _Question(image, ids, limit, clock)
        self._latest = question
        clock.stop()
        return self._answer(question, Writing(self.prompter.tokenizer, rgb.shape[1::-1]))

    def ask(self, rgb: Rgb, prompt: str, options: AskOptions | None = None) -> Answer:
        """The whole answer at once; see `stream`."""
        *_, last = self.stream(rgb, prompt, options)
        assert isinstance(last, Done), last
        return last.answer

    def close(self) -> None:
        """Frees the engine; the predictor is not used afterwards."""
        self._latest = None
        self.runtime.close()

    def _room(self, prompt_tokens: int, options: AskOptions) -> int:
        """How many tokens the answer may have."""
        room = self.runtime.capacity - prompt_tokens
        if room < 1:
            raise PromptError(
                f"the prompt takes {prompt_tokens} tokens with its picture, the engine holds "
                f"{self.runtime.capacity}, and the answer needs some: ask in fewer words, or "
                "export the model with a larger capacity"
            )
        return min(options.max_new_tokens, room)

    def _answer(self, question: _Question, writing: Writing) -> Iterator[Event]:
        """What `_events` finds; while the reader has an event, the clock stands still."""
        question.clock.go()
        with closing(self._events(question, writing)) as events:
            for event in events:
                question.clock.stop()
                yield event
                question.clock.go()

    def _events(self, question: _Question, writing: Writing) -> Generator[Event, None, None]:
        clock = question.clock
        for token, probability in self._decode(question):
            clock.first("first_token_ms")
            for event in writing.add(token, probability):
                if isinstance(event, PointFound):
                    clock.first("first_point_ms")
                yield event
        yield from writing.finish()
        clock.end("decode_ms")
        clock.first("total_ms")
        usage = Usage(
            prompt_tokens=len(question.ids), answer_tokens=writing.tokens, passes=question.passes
        )
        timings = Timings(**clock.found_ms)
        yield Done(Answer(text=writing.text, found=writing.found(), timings=timings, usage=usage))

    def _decode(self, question: _Question) -> Iterator[tuple[int, float]]:
        """Greedy tokens and their probabilities, without the stop token."""
        image, clock = question.image, question.clock
        features = self.runtime.encode(image.crops, image.masks, image.index, len(question.ids))
        clock.end("vision_ms")
        logits = self.runtime.prefill(question.ids, features)
        clock.end("prefill_ms")
        for left in reversed(range(question.limit)):
            question.passes += 1
            token = int(logits.argmax())
            if token in self.prompter.stop_ids:
                return
            yield token, _probability(logits, token)
            if left == 0:
                return
            if self._latest is not question:
                raise RuntimeError("another question was asked before this answer was complete")
            logits = self.runtime.step(np.array([token]))


@dataclass
class _Question:
    """A question on its way."""

    image: ImageInputs
    ids: Ints  # (T,)
    limit: int  # tokens of the answer
    clock: Clock = field(default_factory=Clock)
    passes: int = 0


def _probability(logits: Floats, token: int) -> float:
    """The softmax (V,) at one token; raises when the engine's numbers are not finite."""
    top = logits[token]
    if not np.isfinite(top):
        raise FloatingPointError(
            "the engine computed no finite numbers: the activations do not fit its precision; "
            "export the model with precision='fp32'"
        )
    return 1.0 / float(np.exp(logits - top).sum())
