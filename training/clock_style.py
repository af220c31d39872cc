"""What a watch face looks like: drawn at random, the same for the same seed.

Hands always stand out from the face, and a face without numerals stands nearly upright, so that
the time can be read. Draws nothing itself.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from molmo_training.clock_canvas import FONTS, Colour, Font
from molmo_training.prompts import Rng

SHAPES = ("round", "square", "cushion", "octagon", "tall")
NUMERALS = ("arabic", "roman", "quarters", "roman quarters", "minutes", "none")
TICKS = ("bars", "dots", "track", "railway", "none")
HANDS = ("baton", "dauphine", "sword", "arrow", "skeleton", "pear", "needle")
DISPLAYS = ("segments", "letters", "stacked")
_APART = 0.42  # luminance between what must be told apart
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Style:
    """A watch face.

    hand_width: of the hour hand, in radii
    digital:    how digits are shown; empty for a face with hands
    is_24h:     digits count to 24 where the time says so
    """

    shape: str = "round"
    numerals: str = "none"
    ticks: str = "none"
    hands: str = "baton"
    hand_width: float = 0.09
    font: Font = "sans"
    is_radial: bool = False
    has_date: bool = False
    has_strap: bool = False
    digital: str = ""
    is_24h: bool = False
    face: Colour = (255, 255, 255)
    ink: Colour = (0, 0, 0)
    hand: Colour = (0, 0, 0)
    second: Colour = (220, 0, 0)
    case: Colour = (120, 120, 120)
    strap: Colour = (60, 40, 30)


PLAIN = Style()


def sample_style(rng: Rng, *, likes_digits: bool = False) -> Style:
    """One of endlessly many; likes_digits: more often one without hands."""
    is_dark = rng.random_sample() < 0.5
    face = (
        colour_in(rng, (0.02, 0.25), (0.0, 0.9)) if is_dark else colour_in(rng, (0.8, 1), (0, 0.3))
    )
    is_digital = rng.random_sample() < (0.6 if likes_digits else 0.2)
    numerals = _one(rng, NUMERALS, (5, 3, 2, 2, 1, 2))
    return Style(
        shape=_one(rng, SHAPES, (6, 2, 2, 1, 1)),
        numerals=numerals,
        ticks=_one(rng, TICKS[:-1] if numerals == "none" else TICKS),
        hands=_one(rng, HANDS),
        hand_width=rng.uniform(0.06, 0.12),
        font=_one(rng, FONTS),
        is_radial=rng.random_sample() < 0.3,
        has_date=rng.random_sample() < 0.35,
        has_strap=rng.random_sample() < 0.6,
        digital=_one(rng, DISPLAYS) if is_digital else "",
        is_24h=rng.random_sample() < 0.5,
        face=face,
        ink=_unlike(rng, face, _grey),
        hand=_unlike(rng, face, _grey if rng.random_sample() < 0.6 else _vivid),
        second=_unlike(rng, face, _vivid),
        case=colour_in(rng, (0.1, 0.95), (0.0, 0.35)),
        strap=colour_in(rng, (0.08, 0.6), (0.0, 0.8)),
    )


def luminance(colour: Colour) -> float:
    """How bright a colour looks, 0 to 1."""
    red, green, blue = colour
    return (0.299 * red + 0.587 * green + 0.114 * blue) / 255


def _unlike(rng: Rng, face: Colour, draw: Callable[[Rng], Colour]) -> Colour:
    """A colour that stands out from the face; black or white when none comes up."""
    for _ in range(20):
        colour = draw(rng)
        if abs(luminance(colour) - luminance(face)) > _APART:
            return colour
    return (0, 0, 0) if luminance(face) > 0.5 else (255, 255, 255)


def _grey(rng: Rng) -> Colour:
    return colour_in(rng, (0.0, 1.0), (0.0, 0.08))


def _vivid(rng: Rng) -> Colour:
    return colour_in(rng, (0.45, 1.0), (0.6, 1.0))


def colour_in(rng: Rng, value: tuple[float, float], saturation: tuple[float, float]) -> Colour:
    """Any hue, as bright and as vivid as wanted, 0 to 1."""
    hsv = rng.random_sample(), rng.uniform(*saturation), rng.uniform(*value)
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(*hsv))
    return red, green, blue


def _one(rng: Rng, choices: Sequence[_T], weights: Sequence[int] | None = None) -> _T:
    shares = [w / sum(weights) for w in weights] if weights else None
    return choices[int(rng.choice(len(choices), p=shares))]
