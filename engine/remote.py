"""Asks a model that runs elsewhere: for models that do not fit the robot.

Has the interface of `Predictor` and gives the same events: points come the moment they close. What
a server does not tell stays zero: its passes, and the stages of its work. Knows no sockets (see
remote_transfer.py) and nothing of the protocol (see remote_chat.py).
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from molmo_engine.clock import Clock
from molmo_engine.records import Answer, AskOptions, Done, Event, PointFound, Timings, Token, Usage
from molmo_engine.remote_chat import PATH, PICTURES, Chunk, encode_question, read_chunks
from molmo_engine.remote_http import Server
from molmo_engine.remote_transfer import Transfer
from molmo_engine.writing import TextWriting
from molmo_model.text import PromptError

Rgb = npt.NDArray[np.uint8]


class RemotePredictor:
    """One model on one server; one question at a time, not for several threads at once."""

    def __init__(self, server: Server, model: str, picture: str = "jpeg") -> None:
        """picture: how pictures travel, one of PICTURES."""
        if picture not in PICTURES:
            raise ValueError(f"pictures as {picture!r}: wanted one of {', '.join(PICTURES)}")
        self.server = server
        self.model_id = model
        self._picture = picture
        self._latest: _Question | None = None

    @property
    def engine_id(self) -> str:
        """Where it is computed, for logs and answers."""
        return f"remote {self.server.name}"

    def stream(self, rgb: Rgb, prompt: str, options: AskOptions | None = None) -> Iterator[Event]:
        """Answers piece by piece; the last event is Done. Closing the iterator cancels.

        While the server is silent an empty Token comes every now and then, so that the reader can
        stop. The confidence of a point is 0 when the server tells no probabilities.

        rgb: (H, W, 3) uint8. Raises at once: ValueError for anything else and for options that
        only our own engine has, PromptError for an empty prompt. Later: RemoteError, TimeoutError,
        and RuntimeError when another question was asked meanwhile.
        """
        clock, options = Clock(), options or AskOptions()
        for name in ("well_formed", "raw", "max_crops"):
            if getattr(options, name):
                raise ValueError(f"{name}: a server has no such option; ask without it")
        if not prompt.strip():
            raise PromptError("the prompt is empty: ask something, like 'Point to the red cube.'")
        body = encode_question(self.model_id, rgb, prompt, options, self._picture)
        clock.end("preprocess_ms")
        self._latest = question = _Question(body, options, TextWriting(rgb.shape[1::-1]), clock)
        clock.stop()
        return self._answer(question)

    def ask(self, rgb: Rgb, prompt: str, options: AskOptions | None = None) -> Answer:
        """The whole answer at once; see `stream`."""
        *_, last = self.stream(rgb, prompt, options)
        assert isinstance(last, Done), last
        return last.answer

    def close(self) -> None:
        """Ends what is asked; the predictor is not used afterwards."""
        self._latest = None

    def _answer(self, question: _Question) -> Iterator[Event]:
        """What `_events` finds; while the reader has an event, the clock stands still."""
        question.clock.go()
        with closing(self._events(question)) as events:
            for event in events:
                question.clock.stop()
                yield event
                question.clock.go()

    def _events(self, question: _Question) -> Generator[Event, None, None]:
        clock, writing, usage = question.clock, question.writing, Usage()
        with closing(Transfer(self.server, PATH, question.body)) as transfer:
            for chunk in read_chunks(transfer.lines(), self.server):
                self._check(question)
                if chunk is None:
                    yield Token("")
                    continue
                usage = chunk.usage or usage
                yield from _write(chunk, question)
                if question.is_enough:
                    break
        yield from writing.end()
        clock.end("decode_ms")
        clock.first("total_ms")
        usage = replace(usage, answer_tokens=usage.answer_tokens or writing.tokens)
        timings = Timings(**clock.found_ms)
        yield Done(Answer(text=writing.text, found=writing.found(), timings=timings, usage=usage))

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


@dataclass(eq=False)
class _Question:
    """A question on its way."""

    body: bytes  # of the request
    options: AskOptions
    writing: TextWriting
    clock: Clock
    asked_s: float = field(default_factory=time.monotonic)

    @property
    def is_enough(self) -> bool:
        return self.writing.points == self.options.max_points


def _write(chunk: Chunk, question: _Question) -> Iterator[Token | PointFound]:
    """Adds a chunk to the answer, up to the last point that is wanted."""
    clock, writing = question.clock, question.writing
    for piece in chunk.pieces:
        if not writing.tokens:
            clock.end("prefill_ms")  # with the way there and back
            clock.first("first_token_ms")
        for event in writing.write(piece.text, piece.probability):
            if isinstance(event, PointFound):
                clock.first("first_point_ms")
            yield event
        if question.is_enough:
            return
