"""Academic sets that the hub has as tables: charts, documents, scene text, knowledge, science.

Each row is one question about one picture, which is in the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from molmo_training.records import Annotation, Record, Turn
from molmo_training.sources.columns import (
    ANSWERS,
    ANY_TEXT,
    INTEGER,
    PICTURE,
    TEXT,
    TEXTS,
    Row,
    SchemaError,
    optional,
)
from molmo_training.sources.hub import Hub
from molmo_training.sources.source import Source

# Some sets are scripts on the hub, which can no longer be run; it keeps their tables here.
CONVERTED = "refs/convert/parquet"
# Of ChartQA's questions, written by people (0) and by a machine (1): both weigh the same in sum.
CHART_QUESTIONS = {0: 7398, 1: 20901}


def _question(rows: Sequence[Row], style: str) -> Record:
    """Test splits have no answers, so these may be missing."""
    row = rows[0]
    turn = Turn(question=row["question"], answers=row["answers"] or ())
    return Record(row["image"], (Annotation(style, (turn,)),))


def _chart(rows: Sequence[Row]) -> Record:
    row = rows[0]
    author = row["human_or_machine"]
    if author not in CHART_QUESTIONS:
        raise SchemaError(
            f"column 'human_or_machine': wants 0 (human) or 1 (machine), got {author}"
        )
    weight = 2 * CHART_QUESTIONS[1 - author] / sum(CHART_QUESTIONS.values())
    turn = Turn(question=row["query"], answers=row["label"])
    return Record(row["image"], (Annotation("chart_qa", (turn,), weight),))


def _science(rows: Sequence[Row]) -> Record:
    row = rows[0]
    if not 0 <= row["answer"] < len(row["choices"]):
        raise SchemaError(
            f"column 'answer': wants the number of one of {len(row['choices'])} choices, "
            f"got {row['answer']}"
        )
    question = "\n".join(filter(None, (row["hint"], row["question"])))
    letter = chr(ord("A") + row["answer"])
    turn = Turn(question=question, options=row["choices"], answers=(letter,))
    return Record(row["image"], (Annotation("science_qa", (turn,)),))


def _is_there(value: object) -> bool:
    return value is not None


ACADEMIC: dict[str, Source] = {
    "chart_qa_weighted": Source(
        place=Hub("HuggingFaceM4/ChartQA"),
        columns={"image": PICTURE, "query": TEXT, "label": TEXTS, "human_or_machine": INTEGER},
        record=_chart,
        splits={"validation": "val"},
    ),
    "doc_qa": Source(
        place=Hub("HuggingFaceM4/DocumentVQA"),
        columns={"image": PICTURE, "question": TEXT, "answers": optional(TEXTS)},
        record=partial(_question, style="doc_qa"),
    ),
    "text_vqa": Source(
        place=Hub("facebook/textvqa", revision=CONVERTED),
        columns={"image": PICTURE, "question": TEXT, "answers": optional(TEXTS)},
        record=partial(_question, style="text_vqa"),
    ),
    "okvqa": Source(
        place=Hub("HuggingFaceM4/OK-VQA", revision=CONVERTED),
        columns={"image": PICTURE, "question": TEXT, "answers": optional(ANSWERS)},
        record=partial(_question, style="okvqa"),
    ),
    "science_qa_img": Source(
        place=Hub("derek-thomas/ScienceQA"),
        columns={
            "image": optional(PICTURE),
            "question": TEXT,
            "choices": TEXTS,
            "answer": INTEGER,
            "hint": ANY_TEXT,
        },
        record=_science,
        keep=("image", _is_there),
    ),
}
