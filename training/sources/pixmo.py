"""The PixMo sets of Ai2 (ODC-BY), each from the schema of its card.

Pictures are URLs, but for the documents, whose pictures are in the table, and the clocks, which
publish what a clock shows and no picture: clocks.py draws it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import Any

from molmo_training.clocks import draw_clock
from molmo_training.records import PLACEHOLDER, Annotation, Marks, Picture, Record, Remote, Turn
from molmo_training.sources.columns import (
    ANY_TEXT,
    BOOLEAN,
    INTEGER,
    LABELS,
    PICTURE,
    POINT_LISTS,
    POINTS,
    QUESTIONS,
    TEXT,
    TEXTS,
    Row,
    SchemaError,
    optional,
)
from molmo_training.sources.hub import Hub
from molmo_training.sources.source import Source

HELD_OUT, HELD_OUT_EXPLANATIONS = 2048, 1024  # pictures
CLOCK_QUESTION = "What time is being shown?"
_URL = {"image_url": TEXT}
_HASHED = _URL | {"image_sha256": optional(ANY_TEXT)}


def _remote(rows: Sequence[Row]) -> Picture:
    return Picture(Remote(rows[0]["image_url"], rows[0].get("image_sha256") or ""))


def _caption(rows: Sequence[Row], transcripts: bool = False) -> Record:
    """A long caption; for the first stage with the transcripts, of which one is drawn."""
    row = rows[0]
    annotations = [Annotation("long_caption", (Turn(answers=(row["caption"],)),))]
    if transcripts:
        annotations.append(Annotation("transcript", (Turn(answers=row["transcripts"]),)))
    return Record(_remote(rows), tuple(annotations))


def _anything(rows: Sequence[Row]) -> Record:
    turns = [Turn(question=row["question"], answers=(row["answer"],)) for row in rows]
    return Record(_remote(rows), tuple(Annotation("user_qa", (turn,)) for turn in turns))


def _caption_qa(rows: Sequence[Row]) -> Record:
    return Record(
        _remote(rows), tuple(Annotation("synthetic_qa", _conversation(row)) for row in rows)
    )


def _conversation(row: Row) -> tuple[Turn, ...]:
    """The turns of a row: its messages, or in older uploads its question with [USER] tags."""
    said: list[str] = list(row["messages"] or ())
    if not said:
        said = [one.strip() for one in re.split(r"\[USER\]|\[ASSISTANT\]", row["question"])]
        said = [*filter(None, said), row["answer"]]
    if len(said) % 2:
        raise SchemaError(
            f"column 'messages': wants questions and answers in turn, got {len(said)} texts"
        )
    return tuple(
        Turn(question=q, answers=(a,)) for q, a in zip(said[::2], said[1::2], strict=True)
    )


def _points(rows: Sequence[Row], style: str, in_pixels: bool = False) -> Record:
    turns = [
        Turn(
            label=row["label"],
            marks=(Marks(points=row["points"], label=row["label"], in_pixels=in_pixels),),
        )
        for row in rows
    ]
    return Record(_remote(rows), tuple(Annotation(style, (turn,)) for turn in turns))


def _count(rows: Sequence[Row], style: str) -> Record:
    """Points in pixels; validation and test have the number alone."""
    row = rows[0]
    if row["points"] is None:
        turn = Turn(label=row["label"], answers=(str(row["count"]),))
        return Record(_remote(rows), (Annotation(style, (turn,)),))
    if len(row["points"]) != row["count"]:
        raise SchemaError(
            f"column 'points': wants as many points as column 'count' says, {row['count']}, "
            f"got {len(row['points'])}"
        )
    return _points(rows, style, in_pixels=True)


def _explanation(rows: Sequence[Row]) -> Record:
    annotations = []
    for row in rows:
        answer, points = row["parsed_response"], row["points"]
        wanted = {len(points), len(row["alt_text"]), len(row["inline_text"])}
        if wanted != {answer.count(PLACEHOLDER)}:
            raise SchemaError(
                f"column 'parsed_response': has {answer.count(PLACEHOLDER)} {PLACEHOLDER}, but "
                f"there are {len(points)} lists of points, {len(row['alt_text'])} alt_text and "
                f"{len(row['inline_text'])} inline_text"
            )
        words = zip(points, row["alt_text"], row["inline_text"], strict=True)
        marks = tuple(Marks(points=p, label=alt, text=inline) for p, alt, inline in words)
        turn = Turn(question=row["question"], answers=(answer,), marks=marks)
        annotations.append(Annotation("point_qa", (turn,)))
    return Record(_remote(rows), tuple(annotations))


def _document(rows: Sequence[Row], style: str) -> Record:
    turns = [Turn(question=q, answers=(a,)) for q, a in rows[0]["questions"]]
    return Record(rows[0]["image"], tuple(Annotation(style, (turn,)) for turn in turns))


def _clock(rows: Sequence[Row]) -> Record:
    turn = Turn(question=CLOCK_QUESTION, answers=(rows[0]["text"],))
    return Record(Picture(partial(draw_clock, rows[0])), (Annotation("clocks", (turn,)),))


def _is_pointing(method: Any) -> bool:
    return method == "pointing"


def _is_counting(method: Any) -> bool:
    return method == "counting"


def _pointing_source(style: str, *, high_frequency: bool) -> Source:
    return Source(
        place=Hub("allenai/pixmo-points"),
        columns=_HASHED | {"points": POINTS, "label": TEXT, "collection_method": TEXT},
        record=partial(_points, style=style),
        picture="image_url",
        keep=("collection_method", _is_counting if high_frequency else _is_pointing),
        held_out=HELD_OUT,
    )


def _count_source(style: str) -> Source:
    return Source(
        place=Hub("allenai/pixmo-count"),
        columns=_HASHED | {"count": INTEGER, "label": TEXT, "points": optional(POINTS)},
        record=partial(_count, style=style),
        picture="image_url",
        grouped=False,
    )


def _caption_source(*, transcripts: bool) -> Source:
    return Source(
        place=Hub("allenai/pixmo-cap"),
        columns=_URL | {"caption": TEXT, "transcripts": TEXTS if transcripts else LABELS},
        record=partial(_caption, transcripts=transcripts),
        picture="image_url",
        grouped=False,
        held_out=HELD_OUT,
    )


def _document_source(kind: str) -> Source:
    return Source(
        place=Hub("allenai/pixmo-docs", config=kind),
        columns={"image": PICTURE, "questions": QUESTIONS},
        record=partial(_document, style=f"pixmo_docs_{kind}"),
    )


PIXMO: dict[str, Source] = {
    "pixmo_cap": _caption_source(transcripts=False),
    "pixmo_cap_with_transcripts": _caption_source(transcripts=True),
    "pixmo_ask_model_anything": Source(
        place=Hub("allenai/pixmo-ask-model-anything"),
        columns=_HASHED | {"question": TEXT, "answer": TEXT},
        record=_anything,
        picture="image_url",
        held_out=HELD_OUT,
    ),
    "pixmo_cap_qa": Source(
        place=Hub("allenai/pixmo-cap-qa"),
        columns=_URL | {"question": TEXT, "answer": TEXT, "messages": optional(LABELS)},
        record=_caption_qa,
        picture="image_url",
        held_out=HELD_OUT,
    ),
    "pixmo_points": _pointing_source("pointing", high_frequency=False),
    "pixmo_points_counting": _pointing_source("point_count", high_frequency=False),
    "pixmo_points_high_freq": _pointing_source("pointing", high_frequency=True),
    "pixmo_points_high_freq_counting": _pointing_source("point_count", high_frequency=True),
    "pixmo_pointing_explanations": Source(
        place=Hub("allenai/pixmo-point-explanations"),
        columns=_HASHED
        | {
            "question": TEXT,
            "parsed_response": ANY_TEXT,
            "alt_text": LABELS,
            "inline_text": LABELS,
            "points": POINT_LISTS,
        },
        record=_explanation,
        picture="image_url",
        keep=("parsed_response", bool),
        held_out=HELD_OUT_EXPLANATIONS,
        halves=True,
    ),
    "pixmo_count": _count_source("pointing"),
    "pixmo_count_counting": _count_source("point_count"),
    **{
        f"pixmo_docs_{kind}": _document_source(kind)
        for kind in ("charts", "tables", "diagrams", "other")
    },
    "clocks": Source(
        place=Hub("allenai/pixmo-clocks"),
        columns={
            "example_id": TEXT,
            "watchface_id": TEXT,
            "watch_time": TEXT,
            "time_format": TEXT,
            "shows_seconds": BOOLEAN,
            "hour_visible": INTEGER,  # -1: not shown
            "minute_visible": INTEGER,
            "second_visible": INTEGER,
            "text": TEXT,
        },
        record=_clock,
    ),
}
