"""Samples tabletop scenes: what lies where, who looks at it, and in which light.

A scene is a pure function of its seed. Nothing is rendered here (see render.py) and nothing is
asked (see questions.py). World frame: z up, the origin in the middle of the table's top. Metres.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from molmo_sim.camera import Camera, Vector, deproject, project

Rgb = tuple[float, float, float]  # linear factors of the light, 0..1
Quaternion = tuple[float, float, float, float]  # w, x, y, z

COLOURS: dict[str, Rgb] = {
    "red": (0.84, 0.08, 0.09),
    "orange": (0.96, 0.47, 0.05),
    "yellow": (0.95, 0.88, 0.12),
    "green": (0.10, 0.58, 0.16),
    "cyan": (0.12, 0.80, 0.86),
    "blue": (0.12, 0.22, 0.86),
    "purple": (0.52, 0.14, 0.70),
    "white": (0.95, 0.95, 0.95),
}
# Drawn by repainted() alone, never by sample_scene(): for models that are to learn more.
NEW_COLOURS: dict[str, Rgb] = {"pink": (0.96, 0.45, 0.70)}
SHAPES = ("cube", "sphere", "cylinder", "capsule")
MAX_OBJECTS = 8

_COUNT_WEIGHTS = (0.05, 0.08, 0.17, 0.19, 0.18, 0.15, 0.10, 0.08)  # of 1, 2, ... objects
# Seen too steeply from above, a cylinder is a disc and a standing capsule a sphere.
_MAX_STEEPNESS_DEG = 78.0
_MAX_STEEPNESS_STANDING_DEG = 55.0
_PICTURE = (640, 480)  # placing is judged in a picture of this size, pixels
_PICTURE_MARGIN = 12.0  # pixels between an object and the border
_PICTURE_SPACING = 0.85  # of the sum of two picture radii: at least three quarters stay visible
_MAX_DEPTH_M = 1.2  # farther objects are too few pixels


@dataclass(frozen=True, kw_only=True)
class SceneObject:
    """One primitive on the table.

    size_m:     extent along its own x, y, z; a cylinder's and a capsule's axis is z
    position_m: its centre
    rotation:   quaternion from its own axes to the world's
    """

    colour: str
    shape: str
    size_m: Vector
    position_m: Vector
    rotation: Quaternion
    rgb: Rgb

    @property
    def name(self) -> str:
        return f"{self.colour} {self.shape}"

    @property
    def radius_m(self) -> float:
        """Of the sphere around the centre that just holds the object."""
        x, y, z = self.size_m
        if self.shape == "cube":
            return 0.5 * float(np.hypot(np.hypot(x, y), z))
        return 0.5 * (float(np.hypot(x, z)) if self.shape == "cylinder" else max(x, z))


@dataclass(frozen=True, kw_only=True)
class Lighting:
    """A directional light, one from the camera, ambient light; together about 1."""

    direction: Vector  # the way the light travels, unit
    directional: float
    frontal: float
    ambient: float


@dataclass(frozen=True, kw_only=True)
class Table:
    """A board whose top is the plane z = 0, over a floor that fills the rest of the picture."""

    half_size_m: tuple[float, float]
    rgb: Rgb
    floor_rgb: Rgb


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Everything a renderer needs, and the whole truth."""

    objects: tuple[SceneObject, ...]
    camera: Camera
    lighting: Lighting
    table: Table


def sample_scene(seed: int | tuple[int, ...]) -> Scene:
    """The scene of this seed: 1 to 8 objects, wholly in the picture and mostly unoccluded."""
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    camera = _sample_camera(rng)
    table = _sample_table(rng)
    colours, shapes = _sample_palette(rng)
    wanted = 1 + int(rng.choice(MAX_OBJECTS, p=_COUNT_WEIGHTS))
    objects: list[SceneObject] = []
    for _ in range(60 * wanted):
        if len(objects) == wanted:
            break
        thing = _sample_object(rng, str(rng.choice(colours)), str(rng.choice(shapes)))
        placed = _place(rng, thing, camera, table)
        if placed is not None and all(_is_apart(placed, other, camera) for other in objects):
            objects.append(placed)
    if not objects:  # an unlucky palette; the middle of the table is always in view
        objects.append(_sample_object(rng, colours[0], shapes[0]))
    return Scene(
        objects=tuple(objects), camera=camera, lighting=_sample_lighting(rng), table=table
    )


def repainted(scene: Scene, colour: str, rng: np.random.Generator) -> Scene:
    """The same scene, but about half of its objects have this new colour."""
    objects = [
        replace(thing, colour=colour, rgb=_tinted(rng, NEW_COLOURS[colour])) if is_new else thing
        for thing, is_new in zip(scene.objects, rng.random(len(scene.objects)) < 0.5, strict=True)
    ]
    return replace(scene, objects=tuple(objects))


def _sample_camera(rng: np.random.Generator) -> Camera:
    distance_m = rng.uniform(0.36, 0.52)
    azimuth, elevation = rng.uniform(-np.pi, np.pi), np.radians(rng.uniform(40, 72))
    target = np.array([*rng.uniform(-0.05, 0.05, 2), 0.0])
    position = target + distance_m * _direction(azimuth, elevation)
    return Camera(position_m=_vector(position), target_m=_vector(target))


def _sample_palette(rng: np.random.Generator) -> tuple[list[str], list[str]]:
    """Colours and shapes to draw from; often only a few, so that kinds repeat within a scene."""
    colours, shapes = list(COLOURS), list(SHAPES)
    if rng.random() < 0.35:
        colours = list(rng.permutation(colours)[: rng.integers(1, 4)])
    if rng.random() < 0.35:
        shapes = list(rng.permutation(shapes)[: rng.integers(1, 3)])
    return colours, shapes


def _sample_object(rng: np.random.Generator, colour: str, shape: str) -> SceneObject:
    """An object in the middle of the table, resting on it."""
    height = width = rng.uniform(0.045, 0.060)
    lies = False
    if shape == "sphere":
        height = width = rng.uniform(0.050, 0.068)
    elif shape == "cylinder":
        height = rng.uniform(0.9, 1.4) * width
    elif shape == "capsule":
        width = rng.uniform(0.034, 0.040)
        height = rng.uniform(2.3, 2.7) * width
        lies = bool(rng.random() < 0.6)
    yaw = rng.uniform(-np.pi, np.pi)
    return SceneObject(
        colour=colour,
        shape=shape,
        size_m=(width, width, height),
        position_m=(0.0, 0.0, (width if lies else height) / 2),
        rotation=_rotation(yaw, lies),
        rgb=_tinted(rng, COLOURS[colour]),
    )


def _tinted(rng: np.random.Generator, rgb: Rgb) -> Rgb:
    """A colour, as it differs a little from one thing to the next."""
    return _vector(np.clip(np.array(rgb) + rng.uniform(-0.04, 0.04, 3), 0.03, 0.98))


def _rotation(yaw: float, lies: bool) -> Quaternion:
    """A turn about the vertical; a lying object is first tipped by 90 degrees about its x axis."""
    w, z = float(np.cos(yaw / 2)), float(np.sin(yaw / 2))
    tip = float(np.sqrt(0.5))
    return (w * tip, w * tip, z * tip, z * tip) if lies else (w, 0.0, 0.0, z)


def _place(
    rng: np.random.Generator, thing: SceneObject, camera: Camera, table: Table
) -> SceneObject | None:
    """Moves an object to a random place of the picture; None where it does not fit.

    Drawing pixels instead of table coordinates spreads the objects evenly over the picture.
    """
    width, height = _PICTURE
    k = camera.intrinsics(width, height)
    pixel = rng.uniform((0, 0), (width, height))
    ray = deproject([pixel], [1.0], camera.pose, k)[0] - camera.position_m
    if np.degrees(np.arcsin(-ray[2] / np.linalg.norm(ray))) > _max_steepness_deg(thing):
        return None
    z = thing.position_m[2]
    centre = np.array(camera.position_m) + ray * (z - camera.position_m[2]) / ray[2]
    if np.any(np.abs(centre[:2]) + thing.radius_m > table.half_size_m):
        return None
    placed = replace(thing, position_m=(float(centre[0]), float(centre[1]), z))
    (u, v), radius, depth_m = _outline(placed, camera)
    margin = radius + _PICTURE_MARGIN
    inside = margin < u < width - margin and margin < v < height - margin
    return placed if inside and depth_m < _MAX_DEPTH_M else None


def _max_steepness_deg(thing: SceneObject) -> float:
    stands = thing.shape == "capsule" and thing.position_m[2] == thing.size_m[2] / 2
    return _MAX_STEEPNESS_STANDING_DEG if stands else _MAX_STEEPNESS_DEG


def _is_apart(one: SceneObject, other: SceneObject, camera: Camera) -> bool:
    """Whether two objects leave room for a finger between them and hardly hide each other."""
    gap = np.hypot(*np.subtract(one.position_m, other.position_m)[:2])
    (pixel, radius, _), (other_pixel, other_radius, _) = (
        _outline(one, camera),
        _outline(other, camera),
    )
    distance = np.hypot(*(pixel - other_pixel))
    return bool(
        gap > one.radius_m + other.radius_m + 0.005
        and distance > _PICTURE_SPACING * (radius + other_radius)
    )


def _outline(thing: SceneObject, camera: Camera) -> tuple[npt.NDArray[np.float64], float, float]:
    """Centre pixel, radius in pixels and depth (metres) of the sphere around an object."""
    k = camera.intrinsics(*_PICTURE)
    pixels, depths_m = project([thing.position_m], camera.pose, k)
    return pixels[0], float(k[0, 0] * thing.radius_m / depths_m[0]), float(depths_m[0])


def _sample_table(rng: np.random.Generator) -> Table:
    """Greys and muted tints, darker than the white objects and duller than the coloured ones."""
    brightness = rng.uniform(0.28, 0.75)
    floor = rng.uniform(0.1, 0.7)
    if abs(floor - brightness) < 0.12:  # the table's edge must be seen
        floor = brightness - 0.14
    half_size_m = (float(rng.uniform(0.32, 0.5)), float(rng.uniform(0.28, 0.42)))
    return Table(
        half_size_m=half_size_m, rgb=_muted(rng, brightness), floor_rgb=_muted(rng, floor)
    )


def _muted(rng: np.random.Generator, brightness: float) -> Rgb:
    return _vector(brightness * (1 + rng.uniform(-0.12, 0.12, 3)))


def _sample_lighting(rng: np.random.Generator) -> Lighting:
    towards = _direction(rng.uniform(-np.pi, np.pi), np.radians(rng.uniform(40, 80)))
    return Lighting(
        direction=_vector(-towards),
        directional=float(rng.uniform(0.35, 0.60)),
        frontal=float(rng.uniform(0.10, 0.25)),
        ambient=float(rng.uniform(0.30, 0.42)),
    )


def _direction(azimuth: float, elevation: float) -> npt.NDArray[np.float64]:
    """Unit vector; angles in radians."""
    flat = np.cos(elevation)
    return np.array([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)])


def _vector(values: npt.NDArray[np.float64]) -> Vector:
    x, y, z = (float(value) for value in values)
    return x, y, z
