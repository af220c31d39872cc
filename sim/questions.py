"""Asks about a scene and knows the answers: where things are, how many there are, what is there.

The truth comes from the frame's segments, so it is what a camera can see. Knows nothing of the
model: how points are written into an answer is the reader's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from molmo_sim.render import Frame
from molmo_sim.scene import COLOURS, NEW_COLOURS, SHAPES, Scene, SceneObject

Mask = npt.NDArray[np.bool_]
Spot = tuple[float, float]  # x, y in percent of the picture's width and height

POINT_PROMPTS = (
    "Point to the {things}.",
    "Point at the {things}.",
    "Where {be} the {things}?",
    "Find the {things}.",
    "Show me the {things}.",
    "Locate the {things}.",
    "Can you point to the {things}?",
    "I want to pick up the {things}.",
)
COUNT_PROMPTS = (
    "How many {things} are there?",
    "How many {things} do you see?",
    "How many {things} are on the table?",
    "Count the {things}.",
    "Count all the {things}.",
    "What is the number of {things}?",
    "Tell me how many {things} there are.",
    "How many {things} can you find?",
)
DESCRIBE_PROMPTS = (
    "Describe the table.",
    "Describe the picture.",
    "Describe this image.",
    "What is on the table?",
    "What do you see?",
    "Which objects are on the table?",
    "List the objects on the table.",
    "Tell me what you see.",
)
NOTHING = "There are none."


@dataclass(frozen=True, kw_only=True)
class Question:
    """A prompt and its true answer.

    kind:   "point", "count" or "describe"
    label:  what is meant, in lower case: "red cube", "cubes"; empty for a description
    points: one per object meant, inside it, ordered by x and then y as written with one decimal
    count:  the number of objects meant
    text:   the answer where it is words alone: a description, or that there are none
    """

    kind: str
    prompt: str
    label: str
    points: tuple[Spot, ...]
    count: int
    text: str


@dataclass(frozen=True)
class Kind:
    """A kind of object: of a colour, of a shape, of both, or (neither) any object at all."""

    colour: str | None = None
    shape: str | None = None

    def fits(self, thing: SceneObject) -> bool:
        return self.colour in (None, thing.colour) and self.shape in (None, thing.shape)

    def label(self, plural: bool) -> str:
        words = [self.colour, self.shape or "object"]
        return " ".join(word for word in words if word) + ("s" if plural else "")

    @classmethod
    def of_label(cls, label: str) -> Kind | None:
        """The kind that a label names, in singular or plural; None where it names none of ours."""
        for kind in (*EVERY_KIND, *NEW_KINDS):
            if label in (kind.label(plural=False), kind.label(plural=True)):
                return kind
        return None


EVERY_KIND = tuple(Kind(colour, shape) for colour in (None, *COLOURS) for shape in (None, *SHAPES))
NEW_KINDS = tuple(Kind(colour, shape) for colour in NEW_COLOURS for shape in (None, *SHAPES))


def questions_about(
    scene: Scene, frame: Frame, rng: np.random.Generator, kinds: Sequence[Kind] = EVERY_KIND
) -> list[Question]:
    """About ten questions of every sort: things that are there, groups, absent things, counts.

    kinds: of which the absent things are
    """
    spots = _spots(scene, frame)
    present = [thing for thing, _ in spots]
    named, broader = _kinds_of(present)
    pointed = _some(named, 4, rng) + _some(broader, 2, rng)
    counted = _some(named + broader, 3, rng)
    absent = [_absent_kind(present, kinds, rng) for _ in range(3)]
    questions = [_point_question(kind, spots, rng) for kind in pointed + absent[:2]]
    questions += [_count_question(kind, spots, rng) for kind in counted + absent[2:]]
    return [*questions, _describe_question(spots, rng)]


def object_mask(frame: Frame, index: int) -> Mask:
    """(H, W) bool: where the scene's object of this index is seen."""
    mask: Mask = frame.segments == index
    return mask


def visible_point(mask: Mask) -> Spot:
    """The centroid of a mask if it lies inside it, else the mask's innermost pixel; percent."""
    height, width = mask.shape
    rows, columns = np.divmod(np.flatnonzero(mask), width)
    u, v = float(np.mean(columns)), float(np.mean(rows))
    if not mask[round(v), round(u)]:
        depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 3)
        v, u = divmod(float(np.argmax(depth)), width)
    return 100 * (u + 0.5) / width, 100 * (v + 0.5) / height


def _spots(scene: Scene, frame: Frame) -> list[tuple[SceneObject, Spot]]:
    """The objects that are seen and where, ordered as answers are written."""
    masks = [object_mask(frame, index) for index in range(len(scene.objects))]
    seen = [
        (thing, visible_point(mask))
        for thing, mask in zip(scene.objects, masks, strict=True)
        if mask.any()
    ]
    return sorted(seen, key=lambda spot: (round(spot[1][0], 1), round(spot[1][1], 1)))


def _kinds_of(things: list[SceneObject]) -> tuple[list[Kind], list[Kind]]:
    """The kinds these objects make up: those with colour and shape, and the broader ones."""
    named = dict.fromkeys(Kind(thing.colour, thing.shape) for thing in things)
    colours = dict.fromkeys(Kind(colour=thing.colour) for thing in things)
    shapes = dict.fromkeys(Kind(shape=thing.shape) for thing in things)
    return list(named), [*colours, *shapes, Kind()]


def _absent_kind(
    present: list[SceneObject], kinds: Sequence[Kind], rng: np.random.Generator
) -> Kind:
    """A kind that no object is of; often one whose colour and whose shape are both there."""
    colours, shapes = {thing.colour for thing in present}, {thing.shape for thing in present}
    absent = [kind for kind in kinds if not any(kind.fits(thing) for thing in present)]
    hard = [kind for kind in absent if kind.colour in colours and kind.shape in shapes]
    return _some(hard if hard and rng.random() < 0.6 else absent, 1, rng)[0]


def _point_question(
    kind: Kind, spots: list[tuple[SceneObject, Spot]], rng: np.random.Generator
) -> Question:
    points = tuple(spot for thing, spot in spots if kind.fits(thing))
    plural = len(points) > 1 or rng.random() < 0.25
    label = kind.label(plural)
    prompt = _pick(POINT_PROMPTS, rng).format(things=label, be="are" if plural else "is")
    return _question("point", prompt, label, points)


def _count_question(
    kind: Kind, spots: list[tuple[SceneObject, Spot]], rng: np.random.Generator
) -> Question:
    label = kind.label(plural=True)
    points = tuple(spot for thing, spot in spots if kind.fits(thing))
    return _question("count", _pick(COUNT_PROMPTS, rng).format(things=label), label, points)


def _describe_question(
    spots: list[tuple[SceneObject, Spot]], rng: np.random.Generator
) -> Question:
    """From left to right: "There are 2 objects on the table: a red cube and an orange sphere."."""
    names = [("an " if thing.name[0] == "o" else "a ") + thing.name for thing, _ in spots]
    listed = " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
    be, things = ("is", "object") if len(names) == 1 else ("are", "objects")
    text = f"There {be} {len(names)} {things} on the table: {listed}."
    points = tuple(spot for _, spot in spots)
    return _question("describe", _pick(DESCRIBE_PROMPTS, rng), "", points, text)


def _question(
    kind: str, prompt: str, label: str, points: tuple[Spot, ...], text: str = ""
) -> Question:
    return Question(
        kind=kind,
        prompt=prompt,
        label=label,
        points=points,
        count=len(points),
        text=text if points else NOTHING,
    )


def _some(kinds: list[Kind], most: int, rng: np.random.Generator) -> list[Kind]:
    return [kinds[index] for index in rng.permutation(len(kinds))[:most]]


def _pick(prompts: tuple[str, ...], rng: np.random.Generator) -> str:
    return prompts[rng.integers(len(prompts))]
