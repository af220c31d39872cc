"""How the answer of each kind of task is judged: an answer and its example in, figures out.

The first figure of each is the one to quote. The rules themselves are in metrics_*.py.
"""

from __future__ import annotations

from molmo_training.metrics_choice import (
    choose_letter,
    choose_option,
    is_letter_or_answer,
    is_number,
    is_open_answer,
    letter,
)
from molmo_training.metrics_numbers import clock_scores, count_scores
from molmo_training.metrics_points import mask_scores
from molmo_training.metrics_text import (
    anls,
    direct_answer_score,
    exact_match,
    final_answer,
    relaxed_accuracy,
    vqa_score,
)
from molmo_training.tasks_example import EvalExample, Scores


def by_vqa(text: str, example: EvalExample) -> Scores:
    """VQA's agreement with what people said."""
    return {"vqa_score": vqa_score(final_answer(text), example.answers)}


def by_direct_answer(text: str, example: EvalExample) -> Scores:
    """A-OKVQA's agreement with what people said."""
    return {"vqa_score": direct_answer_score(final_answer(text), example.answers)}


def by_anls(text: str, example: EvalExample) -> Scores:
    """Similarity to what stands in the document."""
    return {"anls": anls(final_answer(text), example.answers)}


def by_relaxed_accuracy(text: str, example: EvalExample) -> Scores:
    """Within 5 % of a number, or the same words, of any of the references."""
    said = final_answer(text)
    right = any(relaxed_accuracy(said, answer) for answer in example.answers)
    return {"relaxed_accuracy": float(right)}


def by_exact_match(text: str, example: EvalExample) -> Scores:
    """The same words or digits."""
    return {"accuracy": float(exact_match(final_answer(text), example.answers))}


def by_choice(text: str, example: EvalExample) -> Scores:
    """The right option, named by its letter or in its words."""
    [wanted] = example.answers
    said = final_answer(text)
    if wanted in example.options:
        right = example.options[choose_option(said, example.options)] == wanted
    else:
        right = _is_letter(said, example)
    return {"accuracy": float(right)}


def by_exam(text: str, example: EvalExample) -> Scores:
    """MMMU: the right letter, or an answer that holds the right one."""
    said = final_answer(text)
    right = _is_letter(said, example) if example.options else is_open_answer(said, example.answers)
    return {"accuracy": float(right)}


def by_mathematics(text: str, example: EvalExample) -> Scores:
    """MathVista: the right letter, the last number rounded, or the same words."""
    said, [wanted] = final_answer(text), example.answers
    if example.options:
        right = _is_letter(said, example)
    elif example.decimals is not None:
        right = is_number(said, wanted, example.decimals)
    else:
        right = exact_match(said, [wanted])
    return {"accuracy": float(right)}


def by_real_world(text: str, example: EvalExample) -> Scores:
    """RealWorldQA: the letter that its question lists, or the same words."""
    right = is_letter_or_answer(final_answer(text), example.answers[0], example.question)
    return {"accuracy": float(right)}


def by_count(text: str, example: EvalExample) -> Scores:
    """The stated number is right, or at most one off."""
    assert example.number is not None, example.id
    return count_scores(text, example.number)


def by_clock(text: str, example: EvalExample) -> Scores:
    """The time that the answer reads is right within a minute."""
    assert example.number is not None, example.id
    return clock_scores(text, example.number)


def by_masks(text: str, example: EvalExample) -> Scores:
    """Points within the outlines of things, one to one."""
    assert example.points is not None and example.masks is not None, example.id
    return mask_scores(text, example.points, example.masks)


def _is_letter(said: str, example: EvalExample) -> bool:
    chosen = choose_letter(said, example.options)
    return chosen is not None and letter(chosen) == example.answers[0]
