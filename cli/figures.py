"""The figures of an evaluation, for programs and for people."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from molmo_training.evaluate import Outcome
    from molmo_training.intervals import Estimate
    from molmo_training.tasks_example import Examples, Task

COLUMNS = f"{'':16} {'mean':>8}  {'95 % interval':18} {'n':>6}"


def plain(
    task: Task, examples: Examples, own: Outcome, other: Outcome | None = None
) -> dict[str, Any]:
    """The figures of a run, or of two and by how much the first is better."""
    if other:
        return {
            "model": plain(task, examples, own),
            "other": plain(task, examples, other),
            "difference": {name: _rounded(one) for name, one in own.minus(other).items()},
        }
    figures = {**own.means, "n": examples.n}
    if task.name == "scenes":  # programs read these keys: no others, the same in every run
        return figures
    return {
        **figures,
        "intervals": {name: _rounded(one) for name, one in own.figures.items()},
        "seconds_per_example": round(own.seconds_per_example, 4),
        "refused": len(own.refused),
        "unseen": len(own.unseen),
    }


def table(outcome: Outcome, n: int) -> str:
    """The figures of a run, one a line."""
    timing = f"{'n':16} {n:8}  {outcome.seconds_per_example:.3f} s per question"
    lines = [COLUMNS, *_rows(outcome.figures), timing]
    for what, reasons in (
        ("questions were refused and count as wrong", outcome.refused),
        ("pictures could not be had, their questions are left out", outcome.unseen),
    ):
        if reasons:
            lines.append(f"{len(reasons)} {what}; the first: {reasons[0]}")
    return "\n".join(lines)


def both(own: Outcome, other: Outcome, n: int) -> str:
    """Two runs, and by how much the first is better, paired by examples."""
    difference = "\n".join(["model - other", *_rows(own.minus(other))])
    return "\n\n".join([f"model\n{table(own, n)}", f"other\n{table(other, n)}", difference])


def _rows(figures: dict[str, Estimate]) -> list[str]:
    return [
        f"{name:16} {one.mean:8.4f}  {one.low:7.4f} to {one.high:7.4f} {one.n:6}"
        for name, one in figures.items()
    ]


def _rounded(one: Estimate) -> dict[str, float]:
    return {name: round(value, 4) for name, value in asdict(one).items()}
