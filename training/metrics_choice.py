"""Reads which option or which number an answer means, as the published benchmarks do.

Text in, an index or a claim out. Knows nothing of pictures and models; never raises on any text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from molmo_training.metrics_text import edit_distance, exact_match, vqa_normalised

_NUMBER = re.compile(r"-?(?:[0-9][0-9,]*(?:\.[0-9]+)?|\.[0-9]+)")


def letter(index: int) -> str:
    """The letter of an option: A for the first."""
    return chr(ord("A") + index)


def choose_option(text: str, options: Sequence[str]) -> int:
    """The option that an answer in words means: always one of them.

    The very option, else the only one that contains the answer, else the one nearest by edits.
    """
    said, wanted = text.strip().lower(), [option.strip().lower() for option in options]
    if said in wanted:
        return wanted.index(said)
    containing = [index for index, option in enumerate(wanted) if said in option]
    if len(containing) == 1:
        return containing[0]
    return min(range(len(wanted)), key=lambda index: edit_distance(said, wanted[index]))


def choose_letter(text: str, options: Sequence[str]) -> int | None:
    """The option that an answer names by its letter or in its words; None if it names none.

    Of several it is the one named last, which is what a model concludes with. In this order: the
    letter alone, the very option, "(B)", a capital B that stands alone, an option's words.
    """
    said = text.strip()
    letters = [letter(index) for index in range(len(options))]
    if said.strip("().: ").upper() in letters:
        return letters.index(said.strip("().: ").upper())
    for index, option in enumerate(options):
        if exact_match(said, [option]):
            return index
    for pattern in (r"\(([A-Z])\)", r"(?<![\w'])([A-Z])(?![\w'])"):
        named = [name for name in re.findall(pattern, said) if name in letters]
        if named:
            return letters.index(named[-1])
    found = [
        (said.lower().rfind(o.strip().lower()), i) for i, o in enumerate(options) if o.strip()
    ]
    at, index = max(found, default=(-1, 0))
    return index if at >= 0 else None


def last_number(text: str) -> float | None:
    """The last number of an answer; 1,000 is one number."""
    found = _NUMBER.findall(text)
    value = float(found[-1].replace(",", "")) if found else math.nan
    return value if math.isfinite(value) else None


def is_open_answer(text: str, answers: Sequence[str]) -> bool:
    """Whether an answer in sentences holds a reference, as MMMU judges open questions.

    A number must be among its numbers, to two decimals; words must stand in it, without articles
    and punctuation.
    """
    numbers = [float(found.replace(",", "")) for found in _NUMBER.findall(text)]
    words = f" {vqa_normalised(text)} "
    for answer in answers:
        if _NUMBER.fullmatch(answer.strip()):
            wanted = round(float(answer.strip().replace(",", "")), 2)
            if wanted in [round(number, 2) for number in numbers]:
                return True
        elif vqa_normalised(answer) and f" {vqa_normalised(answer)} " in words:
            return True
    return False


def is_letter_or_answer(text: str, answer: str, question: str) -> bool:
    """RealWorldQA: the letter of an option that the question lists, or the answer normalised."""
    listed = re.findall(r"^([A-Z])[.:)] *(.*)$", question, flags=re.MULTILINE)
    options = [option for _, option in listed]
    if len(answer.strip()) == 1 and answer.strip() in [name for name, _ in listed]:
        chosen = choose_letter(text, options)
        return chosen is not None and listed[chosen][0] == answer.strip()
    return vqa_normalised(text) == vqa_normalised(answer)


def is_number(text: str, answer: str, decimals: int) -> bool:
    """Whether the last number is the wanted one when both are rounded (MathVista)."""
    said, wanted = last_number(text), last_number(answer)
    return (
        said is not None
        and wanted is not None
        and round(said, decimals) == round(wanted, decimals)
    )
