"""What a question, its stream of events and its answer are made of.

Plain records without behaviour: the node, the command line and the evaluation share them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from molmo_model.points import Point, read_count


@dataclass(frozen=True, kw_only=True)
class AskOptions:
    """How one question is answered.

    max_new_tokens: the published generation length
    draft:          guess what the markup forces and the question repeats, and verify it several
                    tokens a pass: the same answer in fewer passes
    well_formed:    let nothing but whole point markup stand in tags, see markup.py
    max_crops:      the most high-resolution crops, where the model's own number is too slow; fewer
                    crops are fewer tokens and a coarser look
    raw:            the prompt is what the model reads, without the chat template around it
    max_points:     end the answer as soon as so many points are known: its text is then the
                    beginning of the whole one, and stops before their label
    timeout_s:      from the question to the whole answer; TimeoutError when it is over
    """

    max_new_tokens: int = 200
    draft: bool = True
    well_formed: bool = False
    max_crops: int | None = None
    raw: bool = False
    max_points: int | None = None
    timeout_s: float | None = None

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens is {self.max_new_tokens}: wanted at least 1")
        for name in ("max_crops", "max_points"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}: wanted at least 1, or None")


@dataclass(frozen=True)
class Token:
    """A piece of the answer's text, as soon as it is decoded. May be empty (half a character)."""

    text: str


@dataclass(frozen=True)
class PointFound:
    """A point, yielded the moment its y coordinate closes.

    point:      percent of the image, with the label as far as it is known by then
    pixel:      (u, v) in the image that was asked about; 0 is the centre of the first pixel
    confidence: product of the probabilities of the coordinate tokens, 0..1
    """

    point: Point
    pixel: tuple[float, float]
    confidence: float


@dataclass(frozen=True, kw_only=True)
class Timings:
    """Where the time went, in milliseconds; stages that did not run are zero.

    What the reader of a stream does between its events is left out everywhere.
    """

    preprocess_ms: float = 0.0
    vision_ms: float = 0.0
    prefill_ms: float = 0.0
    decode_ms: float = 0.0
    first_token_ms: float = 0.0  # from the start to the first token
    first_point_ms: float | None = None  # from the start to the first point
    total_ms: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Token counts and decoder passes of one answer."""

    prompt_tokens: int = 0  # BOS, image and text
    answer_tokens: int = 0
    passes: int = 0  # runs of the decoder, the prompt's included


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The whole answer.

    text:  the words as the model wrote them, point markup included, without the leading space
    found: the points with pixel, confidence and final label
    """

    text: str
    found: tuple[PointFound, ...] = ()
    timings: Timings = field(default_factory=Timings)
    usage: Usage = field(default_factory=Usage)

    @property
    def points(self) -> tuple[Point, ...]:
        """The points alone, in percent of the image."""
        return tuple(found.point for found in self.found)

    @property
    def count(self) -> int | None:
        """What the text counts; None where it does not tell a number."""
        return read_count(self.text)


@dataclass(frozen=True)
class Done:
    """The last event of a stream."""

    answer: Answer


Event = Token | PointFound | Done
