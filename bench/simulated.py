"""Waypoints on simulated scenes of known truth: clean, and as a stereo camera sees them.

Every object is pointed at twice: at a random visible spot and at the middle of what is seen. Every
other scene is seen through a lens. Errors are those of the exact pixel; the ellipsoid of a
waypoint is asked whether it holds the true point when the pixel is off by the declared sigma.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from molmo_ros.camera import Camera
from molmo_ros.geometry import Location, Status, find_support, locate
from molmo_ros.noise import Errors
from molmo_sim.questions import visible_point
from molmo_sim.rays import RayRenderer
from molmo_sim.scene import Scene, SceneObject, sample_scene

Array = npt.NDArray[np.float64]

SEEDS = 5  # first word of the seeds of these scenes; training and evaluation use others
WIDTH, HEIGHT = 640, 480
DISTANCE_M = 0.7
LENS = (-0.12, 0.06, 0.001, -0.001, 0.0)  # a mild barrel: 3 % at the corners
CHI2_90, CHI2_90_TILT = 6.251, 4.605  # of three and of two degrees of freedom
PIXEL_SIGMA = Errors().pixel_sigma_percent / 100 * WIDTH
EDGE_PX = 2 * PIXEL_SIGMA  # nearer to another surface, the noisy pixel may well be on it

BASELINE_M = 0.05
SUBPIXEL = 1 / 32  # of a pixel: steps of disparity
# Neighbours share their error: on recorded Kinect frames the autocorrelation of a flat table sums
# to 16 pixels, which is that of white noise under a Gaussian of this sigma (4 pi sigma^2).
CORRELATION_PX = 1.1
SIGMA_AT_1_M = 0.002
RAGGED_PX = 0.8  # how far the rim of a thing wanders
STEEPEST = np.cos(np.radians(80))
DARKEST = 0.10  # share of the light that comes back, below which there is no match


@dataclass(frozen=True)
class Case:
    """One waypoint. distance_m and angle_deg: of the exact pixel, inf where there is no waypoint.

    at_edge: another thing is seen within EDGE_PX; slips: the noisy pixel lies on it
    is_held: the ellipsoid of the noisy pixel holds the true point; None without a waypoint
    tilt_is_held: likewise, of the exact pixel's normal and the true one
    """

    shape: str
    is_noisy: bool
    at_edge: bool
    slips: bool
    distance_m: float
    angle_deg: float
    is_held: bool | None
    tilt_is_held: bool | None


@dataclass(frozen=True)
class Seen:
    """What a camera could see at best, (H, W): depth, object, cosine of incidence, light."""

    depth_m: Array
    segments: npt.NDArray[np.int16]
    cosine: Array
    light: Array


def simulate(n: int) -> list[Case]:
    """The cases of n scenes."""
    renderer = RayRenderer(WIDTH, HEIGHT)
    return [case for index in range(n) for case in _measure(renderer, index)]


def summarise(cases: list[Case]) -> dict[str, float]:
    """The keys of the benchmark."""
    clean = [case.distance_m for case in cases if not case.is_noisy]
    noisy = [case.distance_m for case in cases if case.is_noisy]
    return {
        "n": len(cases),
        "median_mm_clean": round(1e3 * float(np.median(clean)), 3),
        "median_mm_noisy": round(1e3 * float(np.median(noisy)), 3),
        "normals_deg_median": round(float(np.median([case.angle_deg for case in cases])), 2),
        "ellipsoid_90_coverage": _share(case.is_held for case in cases),
        "tilt_90_coverage": _share(case.tilt_is_held for case in cases),
        "without_waypoint": round(float(np.mean(~np.isfinite([*clean, *noisy]))), 4),
    }


def print_table(cases: list[Case]) -> None:
    """Errors and coverage by condition: where the ellipsoid is too small, and where too large."""
    print(
        f"{'':24} {'n':>5} {'median mm':>10} {'95 % mm':>8} {'normal deg':>11} {'coverage':>9} "
        f"{'tilt':>6}"
    )
    for name, group in _conditions(cases):
        mm = 1e3 * np.array([case.distance_m for case in group])
        worst = np.percentile(mm, 95, method="higher")
        angles = [case.angle_deg for case in group]
        print(
            f"{name:24} {len(group):5} {np.median(mm):10.2f} {worst:8.1f} "
            f"{np.median(angles):11.1f} {_share(case.is_held for case in group):9.3f} "
            f"{_share(case.tilt_is_held for case in group):6.3f}"
        )


def _conditions(cases: list[Case]) -> Iterator[tuple[str, list[Case]]]:
    for noisy in (False, True):
        of_kind = [case for case in cases if case.is_noisy == noisy]
        name = "noisy" if noisy else "clean"
        yield name, of_kind
        yield f"{name}, inside", [case for case in of_kind if not case.at_edge]
        yield f"{name}, at edges", [case for case in of_kind if case.at_edge]
        yield f"{name}, pixel slips off", [case for case in of_kind if case.slips]
        for shape in sorted({case.shape for case in of_kind}):
            yield f"{name}, {shape}", [case for case in of_kind if case.shape == shape]


def _share(held: Iterable[bool | None]) -> float:
    """How many of the waypoints that there are hold the truth."""
    return round(float(np.mean([each for each in held if each is not None])), 4)


def _measure(renderer: RayRenderer, index: int) -> Iterator[Case]:
    """All cases of one scene."""
    rng = np.random.default_rng((SEEDS, index))
    scene = _at_distance(sample_scene((SEEDS, index)))
    camera = _camera(scene, LENS if index % 2 else ())
    seen = _see(renderer, scene, camera)
    targets = list(_targets(scene, seen, rng))
    for is_noisy in (False, True):
        depth_m = stereo(seen, camera, rng) if is_noisy else seen.depth_m.astype(np.float32)
        support = find_support(depth_m, camera)
        for thing, pixel in targets:
            moved = pixel + rng.normal(0, PIXEL_SIGMA, 2)
            rays = camera.directions([pixel, moved])
            segments, depths, normals = renderer.cast(scene, rays)
            truth = rays[0] * depths[0]
            exact = locate(tuple(pixel), depth_m, camera, support=support)
            distance, angle = _errors(exact, truth, normals[0])
            found = locate(tuple(moved), depth_m, camera, support=support, pixel_sigma=PIXEL_SIGMA)
            yield Case(
                shape=thing.shape,
                is_noisy=is_noisy,
                at_edge=_at_edge(seen, pixel),
                slips=bool(segments[0] != segments[1]),
                distance_m=distance,
                angle_deg=angle,
                is_held=_holds(found, truth),
                tilt_is_held=_holds_tilt(exact, normals[0]),
            )


def _errors(found: Location, truth: Array, normal: Array) -> tuple[float, float]:
    """Metres from the true point and degrees from the true normal; inf without a waypoint."""
    if found.status != Status.OK:
        return np.inf, np.inf
    cosine = float(np.clip(found.normal @ normal, -1, 1))
    return float(np.linalg.norm(found.position - truth)), float(np.degrees(np.arccos(cosine)))


def _holds(found: Location, truth: Array) -> bool | None:
    """Whether the 90 % ellipsoid of a waypoint holds a point; None without a waypoint."""
    if found.status != Status.OK:
        return None
    error = found.position - truth
    return bool(error @ np.linalg.solve(found.covariance[:3, :3], error) <= CHI2_90)


def _holds_tilt(found: Location, normal: Array) -> bool | None:
    """Whether the 90 % ellipse of the normal holds a direction; None without a waypoint."""
    if found.status != Status.OK:
        return None
    sides = np.linalg.svd(found.normal[None])[2][1:]  # two axes across the normal
    tilt = sides @ np.cross(found.normal, normal)
    return bool(
        tilt @ np.linalg.solve(sides @ found.covariance[3:, 3:] @ sides.T, tilt) <= CHI2_90_TILT
    )


def _at_distance(scene: Scene) -> Scene:
    """The same scene from DISTANCE_M."""
    eye, target = np.array(scene.camera.position_m), np.array(scene.camera.target_m)
    moved = target + (eye - target) * DISTANCE_M / np.linalg.norm(eye - target)
    return replace(scene, camera=replace(scene.camera, position_m=tuple(moved.tolist())))


def _camera(scene: Scene, distortion: tuple[float, ...]) -> Camera:
    k = scene.camera.intrinsics(WIDTH, HEIGHT)
    return Camera(WIDTH, HEIGHT, k, np.array(distortion), "plumb_bob", "eye")


def _see(renderer: RayRenderer, scene: Scene, camera: Camera) -> Seen:
    rays = camera.grid(range(WIDTH), range(HEIGHT)).reshape(3, -1).T
    segments, depth_m, normals = renderer.cast(scene, rays)
    cosine = -np.sum(normals * rays, axis=1) / np.linalg.norm(rays, axis=1)
    colours = np.array([thing.rgb for thing in scene.objects] + [scene.table.rgb])
    light = (colours @ [0.3, 0.6, 0.1])[segments] * cosine
    shape = HEIGHT, WIDTH
    return Seen(
        depth_m.reshape(shape),
        segments.reshape(shape),
        cosine.reshape(shape),
        light.reshape(shape),
    )


def _targets(
    scene: Scene, seen: Seen, rng: np.random.Generator
) -> Iterator[tuple[SceneObject, Array]]:
    """For every object that is seen: a random spot of it and the middle of what is seen."""
    for index, thing in enumerate(scene.objects):
        mask = seen.segments == index
        if not mask.any():
            continue
        v, u = divmod(int(rng.choice(np.flatnonzero(mask))), WIDTH)
        yield thing, np.array([u, v]) + rng.uniform(-0.5, 0.5, 2)
        x, y = visible_point(mask)
        yield thing, np.array([x * WIDTH, y * HEIGHT]) / 100 - 0.5


def _at_edge(seen: Seen, pixel: Array) -> bool:
    """Whether another object, or the table, is seen within EDGE_PX."""
    u, v = np.round(pixel).astype(int)
    reach = int(np.ceil(EDGE_PX))
    top, left = max(v - reach, 0), max(u - reach, 0)
    window = seen.segments[top : v + reach + 1, left : u + reach + 1]
    rows, columns = np.nonzero(window != seen.segments[v, u])
    return bool((np.hypot(rows + top - v, columns + left - u) <= EDGE_PX).any())


def stereo(seen: Seen, camera: Camera, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """What a stereo camera makes of it: (H, W) metres, NaN where it finds no match.

    Rims wander, neighbours share their errors, disparity and depth come in steps; what the second
    camera does not see, what is steep and what is dark has no depth.
    """
    scale = camera.focal * BASELINE_M
    disparity = scale / np.maximum(_ragged(seen.depth_m, rng), 1e-3)
    is_hidden = _hidden(disparity)
    noise = SIGMA_AT_1_M * scale * _smooth(rng, CORRELATION_PX)
    disparity = np.round((disparity + noise) / SUBPIXEL) * SUBPIXEL
    depth_m = np.round(1e3 * scale / np.maximum(disparity, 0.5)) / 1e3
    is_dark = seen.light * np.exp(0.5 * _smooth(rng, 2.0)) < DARKEST
    depth_m[is_hidden | is_dark | (seen.cosine < STEEPEST)] = np.nan
    return depth_m.astype(np.float32)


def _smooth(rng: np.random.Generator, sigma_px: float) -> Array:
    """(H, W) noise of unit variance whose neighbours are alike."""
    noise = cv2.GaussianBlur(rng.standard_normal((HEIGHT, WIDTH)), (0, 0), sigma_px)
    return np.asarray(noise / noise.std(), np.float64)


def _ragged(depth_m: Array, rng: np.random.Generator) -> Array:
    """Takes the depth of a neighbour near rims, so that these are no clean lines."""
    near = cv2.erode(depth_m, np.ones((5, 5)))
    at_rim = cv2.dilate(depth_m, np.ones((5, 5))) - near > 0.01
    v, u = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    du, dv = (RAGGED_PX * _smooth(rng, 1.5).astype(np.float32) * at_rim for _ in range(2))
    return np.asarray(
        cv2.remap(depth_m, u + du, v + dv, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    )


def _hidden(disparity: Array) -> npt.NDArray[np.bool_]:
    """What something nearer covers in the second camera's picture, which is to the right."""
    column = np.arange(WIDTH) - disparity
    right = np.minimum.accumulate(column[:, ::-1], axis=1)[:, ::-1]
    hidden = np.zeros(disparity.shape, np.bool_)
    hidden[:, :-1] = column[:, :-1] > right[:, 1:]
    return hidden
