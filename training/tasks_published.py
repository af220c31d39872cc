"""Reads rows of the benchmarks that are on the hub into examples.

A reader takes one row and says how it is asked, in the words that Molmo was trained with. What a
row lacks shows as a KeyError with the column's name, see tasks_tables.py.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from molmo_model.text import multiple_choice, styled
from molmo_training.metrics_choice import letter
from molmo_training.metrics_numbers import HALF_DAY_MIN
from molmo_training.tasks_example import EvalExample
from molmo_training.tasks_tables import Pictures, Row

CLOCK_QUESTION = "What time is being shown?"


def pixmo_points(row: Row, pictures: Pictures) -> EvalExample:
    """Things with their outlines; the points are in percent."""
    points = tuple((float(point["x"]), float(point["y"])) for point in row["points"])
    masks = np.asarray(row["masks"], np.bool_)
    if points and (masks.ndim != 3 or len(masks) != len(points)):
        raise ValueError(
            f"masks must be (M, H, W), one for each of {len(points)} points; got {masks.shape}"
        )
    label = str(row["label"]).lower()
    return EvalExample(
        image=pictures.of_web(row["image_url"], row.get("image_sha256")),
        prompt=styled(f"Point to the {label}.", "pointing"),
        points=points,
        masks=masks,
    )


def pixmo_count(row: Row, pictures: Pictures) -> EvalExample:
    """How many of a kind."""
    label = str(row["label"]).lower()
    return EvalExample(
        image=pictures.of_web(row["image_url"], row.get("image_sha256")),
        prompt=styled(f"How many {label} are there?", "point_count"),
        number=int(row["count"]),
    )


def pixmo_clock(row: Row, pictures: Pictures) -> EvalExample:
    """A dial. The published rows say what it shows but have no picture: that is to be rendered."""
    if "image" not in row:
        raise ValueError(
            "has no column image. PixMo-Clocks publishes what its clocks show and no pictures: "
            "render them, and name a folder of parquet files with their column image by --data DIR"
        )
    hour, minute = int(row["hour_visible"]), int(row["minute_visible"])
    return EvalExample(
        image=pictures.find(row["image"]),
        prompt=styled(CLOCK_QUESTION, "clocks"),
        number=(hour * 60 + minute) % HALF_DAY_MIN,
    )


def text_vqa(row: Row, pictures: Pictures) -> EvalExample:
    """Questions about text in photographs."""
    return _short(row, pictures, "text_vqa", row["question"], row["answers"])


def okvqa(row: Row, pictures: Pictures) -> EvalExample:
    """Questions that need knowledge beside the picture."""
    return _short(row, pictures, "okvqa", row["question"], row["answers"])


def chart_qa(row: Row, pictures: Pictures) -> EvalExample:
    """Questions about charts."""
    return _short(row, pictures, "chart_qa", row["query"], row["label"])


def doc_qa(row: Row, pictures: Pictures) -> EvalExample:
    """Questions about scanned documents."""
    return _short(row, pictures, "doc_qa", row["question"], row["answers"])


def real_world_qa(row: Row, pictures: Pictures) -> EvalExample:
    """Photographs from cars and elsewhere; the question lists its options itself."""
    lists_options = re.search(r"^A[.:)]", row["question"], flags=re.MULTILINE)
    style = "a_okvqa_mc" if lists_options else "vqa2"
    return _short(row, pictures, style, row["question"], [row["answer"]])


def mmmu(row: Row, pictures: Pictures) -> EvalExample:
    """Exams of colleges. Of several pictures the model sees the first."""
    question = re.sub(r"<image \d+>", "", row["question"]).strip()
    options = tuple(str(option) for option in _listed(row["options"]))
    return EvalExample(
        image=pictures.find(row["image_1"]),
        prompt=lettered(question, options) if options else styled(question, "vqa2"),
        question=question,
        answers=tuple(str(answer) for answer in _listed(row["answer"])),
        options=options,
    )


def math_vista(row: Row, pictures: Pictures) -> EvalExample:
    """Mathematics in pictures. Answers are words, whole numbers or rounded ones."""
    options = tuple(row["choices"] or ())
    answer, kind = str(row["answer"]), row["answer_type"]
    right = (letter(options.index(answer)),) if answer in options else (answer,)
    decimals = {"integer": 0, "float": int(float(row["precision"] or 1))}.get(kind)
    return EvalExample(
        image=pictures.find(row["decoded_image"]),
        prompt=lettered(row["question"], options) if options else styled(row["question"], "vqa2"),
        question=row["question"],
        answers=right,
        options=options,
        decimals=None if options else decimals,
    )


def lettered(question: str, options: tuple[str, ...], style: str = "a_okvqa_mc") -> str:
    """A question with its options, to be answered by a letter."""
    return styled(multiple_choice(question, options), style)


def _short(row: Row, pictures: Pictures, style: str, question: str, answers: Any) -> EvalExample:
    """A question to be answered in a few words, like one of the answers."""
    texts = [one["answer"] if isinstance(one, Mapping) else one for one in answers]
    return EvalExample(
        image=pictures.find(row["image"]),
        prompt=styled(question, style),
        question=question,
        answers=tuple(str(text) for text in texts),
    )


def _listed(value: Any) -> list[Any]:
    """A list, also where it is written as the text of one."""
    if isinstance(value, str) and value.startswith("["):
        try:
            return list(ast.literal_eval(value))
        except (SyntaxError, TypeError, ValueError):
            return [value]  # an answer that begins with a bracket
    return value if isinstance(value, list) else [value]
