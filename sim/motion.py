"""Moves a simulated camera, or something in front of it, and says where a surface point goes.

A motion is a function from progress (0..1) to the scene at that moment; render.py makes the
pictures. The truth is geometry: the projected point, seen or hidden by what is drawn before it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from molmo_sim.camera import Vector, deproject, project
from molmo_sim.render import Frame
from molmo_sim.scene import MAX_OBJECTS, Scene, SceneObject

Array = npt.NDArray[np.float64]
Motion = Callable[[Scene, float], Scene]

SLIDE_M = 0.12
ORBIT_DEG = 25.0
ROLL_DEG = 60.0
HIDDEN_M = 0.003  # nearer surfaces hide a point; more than the roughness of a depth image


def slide(scene: Scene, progress: float) -> Scene:
    """The camera moves to its right and keeps its direction."""
    return _moved(scene, SLIDE_M * progress * scene.camera.pose[:3, 0], turns=False)


def approach(scene: Scene, progress: float) -> Scene:
    """The camera moves straight to half its distance from what it looks at."""
    way = np.subtract(scene.camera.target_m, scene.camera.position_m)
    return _moved(scene, 0.5 * progress * way, turns=True)


def roll(scene: Scene, progress: float) -> Scene:
    """The camera turns about its optical axis, as a wrist does."""
    return replace(scene, camera=replace(scene.camera, roll_deg=ROLL_DEG * progress))


def orbit(scene: Scene, progress: float) -> Scene:
    """The camera circles around what it looks at."""
    angle = np.radians(ORBIT_DEG * progress)
    x, y, z = np.subtract(scene.camera.position_m, scene.camera.target_m)
    cos, sin = np.cos(angle), np.sin(angle)
    around = np.array([cos * x - sin * y, sin * x + cos * y, z])
    return _moved(scene, around - (x, y, z), turns=True)


def sweep(scene: Scene, progress: float) -> Scene:
    """Something dark, as wide as a gripper, passes between the camera and the table."""
    camera = scene.camera
    right, forward = camera.pose[:3, 0], camera.pose[:3, 2]
    at = np.add(camera.position_m, 0.2 * forward + (0.5 * progress - 0.25) * right)
    thing = SceneObject(
        colour="black",
        shape="sphere",
        size_m=(0.07, 0.07, 0.07),
        position_m=_vector(at),
        rotation=(1.0, 0.0, 0.0, 0.0),
        rgb=(0.1, 0.1, 0.1),
    )
    return replace(scene, objects=(*scene.objects[: MAX_OBJECTS - 1], thing))


def surface_points(scene: Scene, frame: Frame, pixels: npt.ArrayLike) -> Array:
    """What pixels (N, 2) of a picture show: world points (N, 3)."""
    height, width = frame.depth_m.shape
    at = np.rint(np.asarray(pixels)).astype(int)
    k = scene.camera.intrinsics(width, height)
    return deproject(at, frame.depth_m[at[:, 1], at[:, 0]], scene.camera.pose, k)


def follow(scene: Scene, frame: Frame, points_m: Array) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Where world points (N, 3) are in a picture: pixels (N, 2), and which of them it shows."""
    height, width = frame.depth_m.shape
    pixels, depths_m = project(points_m, scene.camera.pose, scene.camera.intrinsics(width, height))
    at = np.rint(pixels).astype(int)
    is_seen = ((at >= 0) & (at < (width, height))).all(axis=1) & (depths_m > 0)
    u, v = at[is_seen].T
    is_seen[is_seen] = depths_m[is_seen] < frame.depth_m[v, u] + HIDDEN_M
    return pixels, is_seen


def _moved(scene: Scene, by_m: Array, turns: bool) -> Scene:
    """The camera at another place; it keeps its target when it turns, else its direction."""
    camera = scene.camera
    position = _vector(np.add(camera.position_m, by_m))
    target = camera.target_m if turns else _vector(np.add(camera.target_m, by_m))
    return replace(scene, camera=replace(camera, position_m=position, target_m=target))


def _vector(values: Array) -> Vector:
    x, y, z = (float(value) for value in values)
    return x, y, z
