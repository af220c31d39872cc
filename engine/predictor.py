"""Asks a picture a question: preprocessing, greedy decoding, points the moment they close.

Works above any `Runtime`. Knows nothing of ROS, of files and of what computes.

T tokens, V vocabulary
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from molmo_engine import FRAME_CACHE_MB
from molmo_engine.clock import Clock
from molmo_engine.decoding import Decoding
from molmo_engine.drafting import Drafter
from molmo_engine.frames import Frames, Seen
from molmo_engine.markup import Markup
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
        self,
        runtime: Runtime,
        prompter: Prompter,
        config: MolmoConfig,
        *,
        model_id: str,
        frame_cache_mb: int = FRAME_CACHE_MB,
    ) -> None:
        """frame_cache_mb: the most MiB for the last pictures, see frames.py; 0 = keep none."""
        self.runtime = runtime
        self.prompter = prompter
        self.config = config
        self.model_id = model_id
        self._frames = Frames(frame_cache_mb << 20)
        self._latest: _Question | None = None  # the runtime's cache belongs to it

    @property
    def engine_id(self) -> str:
        """What computes, for logs and answers."""
        return self.runtime.name

    def stream(self, rgb: Rgb, prompt: str, options: AskOptions | None = None) -> Iterator[Event]:
        """Answers piece by piece; the last event is Done. Closing the iterator cancels.

        rgb: (H, W, 3) uint8. Raises at once: ValueError for anything else, PromptError for an
        empty prompt or one that does not fit the engine. Between tokens: TimeoutError (see
        AskOptions), RuntimeError when another question was asked meanwhile.
        """
        clock, options = Clock(), options or AskOptions()
        config = self._config(options.max_crops)
        key = self._frames.key(rgb, config.crops.max_crops)
        picture = self._frames.find(key) or prepare_image(rgb, config)
        ids = self.prompter.encode(prompt, picture.tokens, raw=options.raw)
        decoding = self._decoding(prompt, ids, options)
        clock.end("preprocess_ms")
        self._latest = question = _Question(key, picture, ids, options, decoding, clock)
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
        self._frames.clear()
        self.runtime.close()

    def _config(self, max_crops: int | None) -> MolmoConfig:
        """The model's own, with at most so many high-resolution crops."""
        crops = self.config.crops
        if max_crops is None or max_crops >= crops.max_crops:
            return self.config
        return replace(self.config, crops=replace(crops, max_crops=max_crops))

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
        clock, decoding = question.clock, question.decoding
        for one in decoding.tokens(self._read(question), lambda: self._check(question)):
            clock.first("first_token_ms")
            for event in writing.add(one.token, one.probability):
                if isinstance(event, PointFound):
                    clock.first("first_point_ms")
                yield event
            if writing.points == question.options.max_points:
                break
        yield from writing.finish()
        clock.end("decode_ms")
        clock.first("total_ms")
        usage = Usage(
            prompt_tokens=len(question.ids), answer_tokens=writing.tokens, passes=decoding.passes
        )
        timings = Timings(**clock.found_ms)
        yield Done(Answer(text=writing.text, found=writing.found(), timings=timings, usage=usage))

    def _read(self, question: _Question) -> Floats:
        """Lets the runtime read picture and prompt; the logits behind them (V,)."""
        self._check(question)
        picture, ids, clock = question.picture, question.ids, question.clock
        seen = 1 + len(picture.tokens)  # BOS and picture come first
        if isinstance(picture, Seen):
            logits = self.runtime.prefill(ids[seen:], None, picture.rows)
        else:
            features = self.runtime.encode(picture.crops, picture.masks, picture.index, len(ids))
            clock.end("vision_ms")
            self._check(question)
            logits = self.runtime.prefill(ids, features)
            self._frames.keep(question.key, Seen(picture.tokens, self.runtime.save(seen)))
        clock.end("prefill_ms")
        return logits

    def _check(self, question: _Question) -> None:
        """Raises when the answer must not go on."""
        if self._latest is not question:
            raise RuntimeError(
                "another question was asked, or the predictor closed, before this answer was "
                "complete"
            )
        timeout_s = question.options.timeout_s
        if timeout_s is not None and time.monotonic() - question.asked_s > timeout_s:
            raise TimeoutError(f"no complete answer within {timeout_s:g} s")

    def _decoding(self, prompt: str, ids: Ints, options: AskOptions) -> Decoding:
        tokenizer, stop = self.prompter.tokenizer, self.prompter.stop_ids
        return Decoding(
            runtime=self.runtime,
            prompt=len(ids),
            limit=self._room(len(ids), options),
            stop=stop,
            drafter=Drafter(tokenizer, prompt) if options.draft else None,
            markup=Markup(tokenizer, stop) if options.well_formed else None,
        )


@dataclass(eq=False)
class _Question:
    """A question on its way."""

    key: bytes  # the picture's fingerprint
    picture: ImageInputs | Seen
    ids: Ints  # (T,)
    options: AskOptions
    decoding: Decoding
    clock: Clock
    asked_s: float = field(default_factory=time.monotonic)
