"""Scores words against reference answers, as the published benchmarks of reading and seeing do.

Text in, a number in [0, 1] out. Knows nothing of pictures, points and models; never raises on any
text.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence

AGREEING = 3  # people of ten who must have given an answer for it to count in full
RELAXED = 0.05  # of the number in a chart


def final_answer(text: str) -> str:
    """What a model that thinks aloud says in the end: what follows "Answer:", if it says so.

    Otherwise the line that it writes most often, the first of these when there are several.
    """
    _, said, rest = text.rpartition("Answer:")
    if said:
        return rest.strip()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return Counter(lines).most_common(1)[0][0] if lines else ""


def vqa_score(text: str, answers: Sequence[str]) -> float:
    """The share of the needed agreement: min(people who said the same / 3, 1)."""
    said = vqa_normalised(text)
    return min(sum(vqa_normalised(answer) == said for answer in answers) / AGREEING, 1.0)


def direct_answer_score(text: str, answers: Sequence[str]) -> float:
    """A-OKVQA's direct answers: as vqa_score, but nothing is normalised except case."""
    said = text.strip().lower()
    return min(sum(answer.strip().lower() == said for answer in answers) / AGREEING, 1.0)


def anls(text: str, answers: Iterable[str]) -> float:
    """Similarity to the nearest reference, 0 unless more than half of it agrees.

    Average normalised Levenshtein similarity: 1 - edits / length of the longer one, without case.
    """
    said = text.strip().lower()
    return max((_similarity(said, answer.strip().lower()) for answer in answers), default=0.0)


def relaxed_accuracy(text: str, answer: str) -> bool:
    """Whether a number is within 5 % of the chart's; anything else must be the same but for case.

    12% is 0.12. A number with anything around it is no number, and of zero nothing is 5 %.
    """
    said, wanted = _number(text), _number(answer)
    if said is not None and wanted:
        return abs(said - wanted) <= RELAXED * abs(wanted)
    return exact_match(text, [answer])


def exact_match(text: str, answers: Iterable[str]) -> bool:
    """Whether it is one of the answers, but for case and the space around."""
    return text.strip().lower() in {answer.strip().lower() for answer in answers}


def edit_distance(a: str, b: str) -> int:
    """The fewest insertions, deletions and replacements of characters from a to b."""
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, right in enumerate(b, 1):
            edits = min(row[j] + 1, row[j - 1] + 1, diagonal + (left != right))
            diagonal, row[j] = row[j], edits
    return row[-1]


def vqa_normalised(text: str) -> str:
    """A short answer without its dress, the way VQA's own evaluation takes it off.

    Small letters, no articles and no punctuation, digits for the words to ten, apostrophes where
    a contraction lost one. Its oddities are kept, since scores are compared.
    """
    words = (_DIGITS.get(word, word) for word in _without_marks(text).lower().split())
    kept = (word for word in words if word not in _ARTICLES)
    return " ".join(_CONTRACTIONS.get(word, word) for word in kept)


def _without_marks(text: str) -> str:
    """Marks beside a space, or in a text with a number like 1,000, go; others become a space."""
    text = " ".join(text.split())
    has_thousands = re.search(r"\d,\d", text) is not None
    bare = text
    for mark in _MARKS:
        goes = has_thousands or f"{mark} " in text or f" {mark}" in text
        bare = bare.replace(mark, "" if goes else " ")
    return re.sub(r"\.(?!\d)", "", bare)


_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_ARTICLES = {"a", "an", "the"}
_DIGITS = {"none": "0", "zero": "0"} | {
    word: str(number)
    for number, word in enumerate(
        ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"], 1
    )
}
# Of each ending, the words in front of it: those that mean nothing else without an apostrophe.
_ENDINGS = {
    "n't": "ai are ca could did does do had has have is might must need ought sha should was were "
    "wo would",
    "n't've": "could had might should would",
    "'ve": "could might must not should they we what where who would you",
    "'d": "he how it someone something there they where who you",
    "'d've": "he it she somebody someone something there they we who y'all you",
    "'ll": "how it somebody someone something they what who why y'all you",
    "'re": "there they what why you",
    "'s": "he how somebody someone that there what when where who why",
    "": "ma'am o'clock 'twas y'all",
}


def _contractions() -> dict[str, str]:
    """A contraction without one of its apostrophes -> the contraction."""
    words = [stem + ending for ending, stems in _ENDINGS.items() for stem in stems.split()]
    return {
        word[:at] + word[at + 1 :]: word
        for word in words
        for at, character in enumerate(word)
        if character == "'"
    }


_CONTRACTIONS = _contractions()
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def _number(text: str) -> float | None:
    text = text.strip()
    digits = text.removesuffix("%")
    if not _NUMBER.fullmatch(digits):
        return None
    value = float(digits) / (100 if digits != text else 1)
    return value if math.isfinite(value) else None


def _similarity(a: str, b: str) -> float:
    longer = max(len(a), len(b))
    distance = edit_distance(a, b) / longer if longer else 0.0
    return 1 - distance if distance < 0.5 else 0.0
