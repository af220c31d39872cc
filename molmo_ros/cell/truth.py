"""Compares what was said about the simulated table with what lies on it.

Renders the scene once more for itself: nothing it knows reaches the node. Positions are in the
camera's optical frame, metres.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from molmo_ros.cell.camera_node import HEIGHT, WIDTH
from molmo_sim.camera import deproject
from molmo_sim.questions import Kind, Mask, object_mask, visible_point
from molmo_sim.render import Frame, open_renderer
from molmo_sim.scene import SHAPES, sample_scene

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Miss:
    """How far a waypoint is from the object it names, millimetres.

    surface_mm: to the nearest point of the object's visible surface
    centre_mm:  to the surface point in the middle of what is seen of the object
    """

    name: str
    surface_mm: float
    centre_mm: float


class Truth:
    """What the simulated camera really sees under a seed."""

    def __init__(self, seed: int) -> None:
        self.scene = sample_scene(seed)
        renderer = open_renderer(WIDTH, HEIGHT)
        frame = renderer.render(self.scene)
        renderer.close()
        self._surfaces = [
            self._seen(frame, object_mask(frame, index))
            for index in range(len(self.scene.objects))
        ]

    def questions(self) -> list[str]:
        """Three questions that this scene has an answer to."""
        names = Counter(thing.name for thing in self.scene.objects)
        name = min(names, key=lambda name: (names[name] > 1, not name.endswith("cube")))
        shapes = Counter(thing.shape for thing in self.scene.objects)
        shape = max(SHAPES, key=lambda shape: shapes[shape])
        return [
            f"Point to the {name}{'s' if names[name] > 1 else ''}.",
            f"How many {shape}s are there?",
            "Describe the table.",
        ]

    def miss(self, position: Array, label: str) -> Miss | None:
        """The distance to the nearest object that the label fits; None where it fits none."""
        kind = Kind.of_label(label)
        meant = [
            self._distance(index, position)
            for index, thing in enumerate(self.scene.objects)
            if kind is not None and kind.fits(thing)
        ]
        return min(meant, key=lambda miss: miss.surface_mm, default=None)

    def _seen(self, frame: Frame, mask: Mask) -> tuple[Array, Array]:
        """The visible surface (N, 3) under a mask, and the point (3,) in its middle."""
        x, y = visible_point(mask)
        middle = (round(x / 100 * WIDTH - 0.5), round(y / 100 * HEIGHT - 0.5))
        v, u = np.nonzero(mask)
        pixels = np.vstack([np.column_stack([u, v]), middle])
        depths_m = frame.depth_m[pixels[:, 1], pixels[:, 0]]
        k = self.scene.camera.intrinsics(WIDTH, HEIGHT)
        points = deproject(pixels, depths_m, np.eye(4), k)
        return points[:-1], points[-1]

    def _distance(self, index: int, position: Array) -> Miss:
        surface, centre = self._surfaces[index]
        surface_m = np.linalg.norm(surface - position, axis=1).min()
        centre_m = np.linalg.norm(centre - position)
        return Miss(self.scene.objects[index].name, 1e3 * float(surface_m), 1e3 * float(centre_m))
