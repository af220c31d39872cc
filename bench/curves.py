"""Reads curves that training runs left for TensorBoard, and draws them as a small SVG.

Knows no run and no model: numbers by step in, text out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
import numpy.typing as npt

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 320, 52, 16, 34, 40  # pixels; four margins
COLOURS = ("#e0529c", "#3a7bd5", "#2a9d6f", "#e08a1e")  # of up to four curves
PARTS = 160  # of a curve, each drawn as its mean and its range
TICKS = 6  # at most so many numbers below, beside the 0

Array = npt.NDArray[np.float64]


class CurveError(ValueError):
    """A directory without the curve that was asked for."""


@dataclass(frozen=True)
class Curve:
    """Values by step, (N,) each."""

    steps: Array
    values: Array

    def parts(self) -> Iterator[tuple[float, float, float, float]]:
        """Step, mean, lowest and highest of each part."""
        count = min(PARTS, len(self.steps))
        for some in np.array_split(np.arange(len(self.steps)), count):
            values = self.values[some]
            step = self.steps[some].mean()
            yield float(step), float(values.mean()), float(values.min()), float(values.max())


def read_curve(run: Path, tag: str = "loss") -> Curve:
    """A curve of a run's directory; where the run was interrupted, as it went on.

    raises: CurveError
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = run / "tensorboard"
    if not board.is_dir():
        raise CurveError(f"{board}: is not there; was the run trained with tensorboard installed?")
    events = EventAccumulator(str(board), size_guidance={"scalars": 0})  # 0 keeps all
    events.Reload()
    tags = events.Tags()["scalars"]
    if tag not in tags:
        raise CurveError(f"{board}: no {tag!r} in it; there are: {', '.join(tags) or 'none'}")
    scalars = [one for one in events.Scalars(tag) if math.isfinite(one.value) and one.value > 0]
    if not scalars:
        raise CurveError(f"{board}: {tag!r} has no positive values, and the axis is logarithmic")
    return Curve(
        np.array([one.step + 1.0 for one in scalars]), np.array([one.value for one in scalars])
    )


def draw(curves: Mapping[str, Curve], what: str = "loss") -> str:
    """The SVG of some curves by name: steps to the right, values upwards on a logarithmic axis."""
    parts = {name: list(curve.parts()) for name, curve in curves.items()}
    every = [part for some in parts.values() for part in some]
    plane = _Plane(
        last=max(float(curve.steps[-1]) for curve in curves.values()),
        low=min(part[2] for part in every) / 1.1,
        high=max(part[3] for part in every) * 1.1,
    )
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
        'font-family="sans-serif" font-size="11" fill="#444">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        *plane.axes(what),
    ]
    for number, (name, some) in enumerate(parts.items()):
        lines += _curve(plane, some, COLOURS[number % len(COLOURS)])
        lines += _legend(name, number, len(curves))
    return "\n".join([*lines, "</svg>"]) + "\n"


@dataclass(frozen=True)
class _Plane:
    """Where steps and values lie in the picture."""

    last: float
    low: float
    high: float

    def at(self, step: float, value: float) -> str:
        share = math.log(value / self.low) / math.log(self.high / self.low)
        x = LEFT + step / self.last * (WIDTH - LEFT - RIGHT)
        y = TOP + (1 - share) * (HEIGHT - TOP - BOTTOM)
        return f"{x:.1f},{y:.1f}"

    def axes(self, what: str) -> Iterator[str]:
        """Lines with their numbers, and the name of each axis."""
        for value in _round_values(self.low, self.high):
            (x, y), (end, _) = (self.at(at, value).split(",") for at in (0, self.last))
            yield f'<path d="M{x} {y}H{end}" stroke="#e4e4e4"/>'
            yield _text(LEFT - 6, float(y) + 4, "end", f"{value:g}")
        for step in _round_steps(self.last):
            x, y = self.at(step, self.low).split(",")
            yield _text(float(x), float(y) + 16, "middle", f"{step:,.0f}")
        yield _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, "middle", "step")
        yield _text(LEFT - 6, TOP - 14, "end", what)


def _curve(
    plane: _Plane, parts: list[tuple[float, float, float, float]], colour: str
) -> Iterator[str]:
    """The range of the values, pale, and their mean."""
    around = [plane.at(step, high) for step, _, _, high in parts]
    around += [plane.at(step, low) for step, _, low, _ in reversed(parts)]
    yield f'<polygon points="{" ".join(around)}" fill="{colour}" opacity="0.2"/>'
    mean = " ".join(plane.at(step, value) for step, value, _, _ in parts)
    yield f'<polyline points="{mean}" fill="none" stroke="{colour}" stroke-width="1.5"/>'


def _legend(name: str, number: int, count: int) -> Iterator[str]:
    x = LEFT + 16 + number * (WIDTH - LEFT - RIGHT) / count
    colour = COLOURS[number % len(COLOURS)]
    yield f'<rect x="{x:.0f}" y="{TOP - 24}" width="12" height="4" fill="{colour}"/>'
    yield _text(x + 18, TOP - 18, "start", name)


def _round_values(low: float, high: float) -> Iterator[float]:
    """1, 2 and 5 times the powers of ten between two values."""
    for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high))):
        yield from (digit * 10**power for digit in (1, 2, 5) if low <= digit * 10**power <= high)


def _round_steps(last: float) -> Iterator[float]:
    """About TICKS steps from 0 on, as far apart as 1, 2 or 5 times a power of ten."""
    power = 10 ** math.floor(math.log10(max(last / TICKS, 1)))
    apart = next(d * power for d in (1, 2, 5, 10) if d * power * TICKS >= last)
    yield from np.arange(0, last + 1, apart).tolist()


def _text(x: float, y: float, anchor: str, words: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
