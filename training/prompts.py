"""Writes annotations as the texts that the model reads and answers.

As published: a question of a data set says in front what style of answer it wants ("vqa2: ..."),
a question in people's own words does so in one of ten examples; where a data set has a label but
no question, a template of our own asks (templates.py). Knows no tokens and no data set.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from molmo_model.points import NOTHING, Point, format_count, format_points
from molmo_model.text import TEMPLATE, multiple_choice, styled
from molmo_training.records import PLACEHOLDER, Annotation, Marks, Pair, Turn
from molmo_training.templates import ABSENT, CAPTION, COUNTING, NO_POINTING, POINTING

Rng = np.random.RandomState  # the generator of the published runs
CHAT_STYLES = frozenset({"long_caption", "pointing", "point_count", "user_qa"})
CHAT_TAG_RATE = 0.1  # how often a question of these says its style
# Evaluation sets without training data ask as a set that has some.
STYLE_TAGS = {"eval_short_answer": "vqa2", "eval_multiple_choice": "a_okvqa_mc"}
UNTAGGED = frozenset({"android_control"})  # its questions begin with tags of their own
UNLETTERED = frozenset({"ai2_diagram_no_letter"})  # the letters stand in the diagram
NEVER_POINTING = frozenset({"user_qa", "synthetic_qa"})  # sets that answer "how many" in words
CAPTION_LENGTH = 65  # asked for by default: characters / 15
_LENGTH_UNIT, _LENGTH_NOISE, _NO_LENGTH_RATE = 15, 25.0, 0.1
_TEMPLATES = {"long_caption": CAPTION, "pointing": POINTING, "point_count": COUNTING}


@dataclass(frozen=True)
class Exchange:
    """What the model reads, and what it is to answer; both as they stand in the sequence."""

    prompt: str
    answer: str


def write_chat(
    annotation: Annotation, rng: Rng, size: tuple[int, int], *, tag_rate: float = CHAT_TAG_RATE
) -> list[Exchange]:
    """The exchanges of a conversation, as chat models are trained.

    size:     width and height of the picture in pixels
    tag_rate: how often questions in people's own words say their style
    """
    exchanges = []
    for number, turn in enumerate(annotation.turns):
        question = _question(turn, annotation.style, rng)
        answer = _answer(turn, annotation.style, question, rng, size)
        if number == 0:
            question = _tagged(question, annotation.style, rng, tag_rate)
        exchanges.append(Exchange(TEMPLATE.format(prompt=question), f" {answer}"))
    return exchanges


def write_caption(annotation: Annotation, rng: Rng) -> list[Exchange]:
    """A caption or transcript, as captioners are trained: with a wish for its length."""
    (turn,) = annotation.turns
    answer = _drawn(turn.answers, rng)
    return [Exchange(length_prompt(annotation.style, rng, len(answer)), f" {answer}")]


def length_prompt(style: str, rng: Rng, characters: int) -> str:
    """Asks a captioner for about so many characters; one time in ten for any number of them."""
    length: int | None = None
    if rng.random_sample() > _NO_LENGTH_RATE:
        length = (characters + int(rng.normal(scale=_LENGTH_NOISE))) // _LENGTH_UNIT
    return caption_prompt(style, length)


def caption_prompt(style: str = "long_caption", length: int | None = CAPTION_LENGTH) -> str:
    """What a captioner reads; length: characters / 15, None leaves it open."""
    return f" {style} {'' if length is None else length}:"


def _question(turn: Turn, style: str, rng: Rng) -> str:
    """The question in words, without its style."""
    if not turn.question:
        template = _choice(_TEMPLATES[style], rng)
        return template.replace("{label}", turn.label.lower())
    if turn.options:
        return multiple_choice(turn.question, turn.options, lettered=style not in UNLETTERED)
    if style in NEVER_POINTING and turn.question.lower().startswith("how many"):
        return f"{_choice(NO_POINTING, rng)} {turn.question}"
    return turn.question


def _tagged(question: str, style: str, rng: Rng, tag_rate: float) -> str:
    tag = STYLE_TAGS.get(style, style)
    if style in UNTAGGED or (style in CHAT_STYLES and rng.random_sample() >= tag_rate):
        return question
    return styled(question, tag)


def _answer(turn: Turn, style: str, question: str, rng: Rng, size: tuple[int, int]) -> str:
    if turn.answers:
        answer = _drawn(turn.answers, rng)
        return _with_marks(answer, turn.marks, size) if turn.marks else answer
    if not turn.marks:
        raise ValueError(f"{question!r} has no answer: a test split cannot be trained on")
    (marks,) = turn.marks
    points = _percent(marks, size)
    if not points:  # a question that says how to deny is answered so
        return ABSENT if question.endswith(ABSENT) else NOTHING
    write = format_count if style == "point_count" else format_points
    return write(points, marks.label)


def _with_marks(answer: str, marks: Sequence[Marks], size: tuple[int, int]) -> str:
    """Puts each mark's tag into its place."""
    pieces = answer.split(PLACEHOLDER)
    assert len(pieces) == len(marks) + 1, answer
    tags = [
        format_points(_percent(m, size), m.label, m.text) if m.points else m.text for m in marks
    ]
    return pieces[0] + "".join(tag + piece for tag, piece in zip(tags, pieces[1:], strict=True))


def _percent(marks: Marks, size: tuple[int, int]) -> list[Point]:
    """Percent of the picture; what was clicked beside it goes to its edge."""
    units = (size[0] / 100, size[1] / 100) if marks.in_pixels else (1.0, 1.0)
    return [Point(*_inside(pair, units)) for pair in marks.points]


def _inside(pair: Pair, units: tuple[float, float]) -> tuple[float, float]:
    x, y = (min(max(value / unit, 0.0), 100.0) for value, unit in zip(pair, units, strict=True))
    return x, y


def _drawn(answers: Sequence[str], rng: Rng) -> str:
    """One of the most frequent answers."""
    counts = Counter(answers)
    most = max(counts.values())
    return _choice([answer for answer, count in counts.items() if count == most], rng)


def _choice(options: Sequence[str], rng: Rng) -> str:
    return options[rng.randint(len(options))] if len(options) > 1 else options[0]
