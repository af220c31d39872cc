"""Renders simulated scenes into a training set on disk: crops, questions, and what each cell sees.

Rendering and preprocessing cost more than a training step reads, so each scene is made once. What
trains is what runs: the crops come from molmo_model.image, kept in half precision.

N scenes, P patches and Q pooled patches (cells) of a crop
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from molmo_model.config import MolmoConfig
from molmo_model.image import ImageInputs, fit_inside, prepare_image
from molmo_model.points import Point, format_count, format_points
from molmo_sim.questions import Question, object_mask, questions_about, visible_point
from molmo_sim.render import Frame, open_renderer
from molmo_sim.scene import Scene, sample_scene

TRAINING = 1  # first word of the seeds of training scenes; evaluation uses another
NO_OBJECT = -1
Seen = tuple[str, str, float, float]  # an object: colour, shape, x and y in percent
PART = 500  # scenes that are written together
_MIN_COVER = 0.06  # of a cell: less of an object is not worth naming


@dataclass(frozen=True, kw_only=True)
class SceneSet:
    """Which scenes, and how many sets of questions about each."""

    count: int
    seed: int = 0
    width: int = 640
    height: int = 480
    question_sets: int = 2


@dataclass(frozen=True)
class SceneTruth:
    """What is known about one scene.

    objects:   what is seen, and where
    questions: (kind, prompt, answer)
    """

    objects: list[Seen]
    questions: list[tuple[str, str, str]]


@dataclass(frozen=True)
class RenderedScenes:
    """The training set.

    parts:  global crops as float16, mapped from disk, in parts of PART scenes
    cells:  (N, Q) int8, which object each cell shows (see cells_of), -1 = none
    truths: one per scene
    image:  masks, tokens and index, which depend on the picture's size alone
    """

    parts: list[npt.NDArray[np.float16]]
    cells: npt.NDArray[np.int8]
    truths: list[SceneTruth]
    image: ImageInputs

    def __len__(self) -> int:
        return len(self.truths)

    def crops(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """The global crops of some scenes, (B, P, 588)."""
        return np.stack([self.parts[i // PART][i % PART] for i in indices]).astype(np.float32)


def render_scenes(
    directory: Path, scenes: SceneSet, config: MolmoConfig, processes: int
) -> RenderedScenes:
    """Renders what is not on disk yet, in parts that appear whole or not at all, and opens all."""
    directory.mkdir(parents=True, exist_ok=True)
    _claim(directory, {"scenes": asdict(scenes), "crops": asdict(config.crops)})
    starts = range(0, scenes.count, PART)
    missing = [
        (directory, number, range(start, min(start + PART, scenes.count)), scenes, config)
        for number, start in enumerate(starts)
        if not _part(directory, number, "json").exists()
    ]
    if missing:
        with get_context("spawn").Pool(processes) as pool:
            pool.map(_render_part, missing, chunksize=1)
    return _open(directory, len(starts), scenes, config)


def answer_of(question: Question) -> str:
    """The answer as Molmo would write it."""
    if question.text:
        return question.text
    points = [Point(x, y, question.label) for x, y in question.points]
    if question.kind == "count":
        return format_count(points, question.label)
    return format_points(points, question.label)


def cells_of(segments: npt.NDArray[np.int16], config: MolmoConfig) -> npt.NDArray[np.int8]:
    """Which object covers most of each cell of the global crop: (H, W) -> (Q,)."""
    crops = config.crops
    h, w, top, left = fit_inside(segments.shape[0], segments.shape[1], [crops.size, crops.size])
    side, cells = crops.pooled_per_side, crops.pooled
    rows = _cell_of_pixels(segments.shape[0], h, top, crops.size, side)
    columns = _cell_of_pixels(segments.shape[1], w, left, crops.size, side)
    cell = rows[:, None] * side + columns[None, :]
    rows_of_objects = max(2, int(segments.max()) + 2)
    seen = (segments.astype(np.intp) + 1) * cells + cell  # row 0: no object
    covered = np.bincount(seen.ravel(), minlength=rows_of_objects * cells).reshape(-1, cells)
    share = covered[1:] / np.maximum(covered.sum(0), 1)
    return np.where(share.max(0) >= _MIN_COVER, share.argmax(0), NO_OBJECT).astype(np.int8)


def _cell_of_pixels(
    count: int, fitted: int, offset: int, size: int, cells: int
) -> npt.NDArray[np.intp]:
    """For every pixel row (or column) of the picture the cell row that sees it."""
    place = offset + (np.arange(count) + 0.5) * fitted / count
    return (place * cells / size).astype(np.intp)


def _render_part(job: tuple[Path, int, range, SceneSet, MolmoConfig]) -> None:
    directory, number, indices, scenes, config = job
    made = list(_rendered(indices, scenes, config))
    for name, arrays in (("crops", [m[0] for m in made]), ("cells", [m[1] for m in made])):
        np.save(_part(directory, number, f"{name}.npy"), np.stack(arrays))
    part = _part(directory, number, "json.part")  # renamed last: it stands for the whole part
    part.write_text(json.dumps([asdict(truth) for _, _, truth in made]))
    part.replace(_part(directory, number, "json"))


def _rendered(
    indices: range, scenes: SceneSet, config: MolmoConfig
) -> Iterator[tuple[npt.NDArray[np.float16], npt.NDArray[np.int8], SceneTruth]]:
    renderer = open_renderer(scenes.width, scenes.height)
    for index in indices:
        seed = (TRAINING, scenes.seed, index)
        scene = sample_scene(seed)
        frame = renderer.render(scene)
        crops = prepare_image(frame.rgb, config).crops
        assert len(crops) == 2, "one tile: both crops show the whole picture"
        cells = cells_of(frame.segments, config)
        yield crops[0].astype(np.float16), cells, _truth(scene, frame, seed, scenes.question_sets)
    renderer.close()


def _truth(scene: Scene, frame: Frame, seed: tuple[int, ...], sets: int) -> SceneTruth:
    rng = np.random.default_rng(seed)
    questions = [q for _ in range(sets) for q in questions_about(scene, frame, rng)]
    objects = []
    for index, thing in enumerate(scene.objects):
        mask = object_mask(frame, index)
        x, y = visible_point(mask) if mask.any() else (0.0, 0.0)
        objects.append((thing.colour, thing.shape, x, y))
    return SceneTruth(objects, [(q.kind, q.prompt, answer_of(q)) for q in questions])


def _open(directory: Path, parts: int, scenes: SceneSet, config: MolmoConfig) -> RenderedScenes:
    truths = []
    for number in range(parts):
        for raw in json.loads(_part(directory, number, "json").read_text()):
            objects = [tuple(thing) for thing in raw["objects"]]
            truths.append(SceneTruth(objects, [tuple(q) for q in raw["questions"]]))
    crops = [np.load(_part(directory, n, "crops.npy"), mmap_mode="r") for n in range(parts)]
    cells = np.concatenate([np.load(_part(directory, n, "cells.npy")) for n in range(parts)])
    blank = np.zeros((scenes.height, scenes.width, 3), np.uint8)
    return RenderedScenes(crops, cells, truths, prepare_image(blank, config))


def _claim(directory: Path, made_of: dict[str, Any]) -> None:
    """Writes what the directory holds, or refuses one that holds something else."""
    path = directory / "scenes.json"
    text = json.dumps(made_of, indent=2)
    if not path.exists():
        path.write_text(text)
    elif path.read_text() != text:
        raise ValueError(f"{directory} holds other scenes; delete it or choose another directory")


def _part(directory: Path, number: int, ending: str) -> Path:
    return directory / f"{number:04d}.{ending}"
