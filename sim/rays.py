"""Renders a scene by casting one ray per pixel: no OpenGL, no display, only MuJoCo itself.

Shades as OpenGL does with matte surfaces: ambient, one directional light, one from the camera.
"""

from __future__ import annotations

import mujoco
import numpy as np
import numpy.typing as npt

from molmo_sim.camera import pixel_rays
from molmo_sim.render import Frame
from molmo_sim.scene import Lighting, Scene
from molmo_sim.world import FAR_M, FIRST_OBJECT, World

Array = npt.NDArray[np.float64]


class RayRenderer:
    """A Renderer without OpenGL, some twenty times slower."""

    def __init__(self, width: int, height: int) -> None:
        self._size = width, height
        self._world = World(width, height)
        v, u = np.divmod(np.arange(width * height), width)
        self._pixels = np.column_stack([u, v])

    def render(self, scene: Scene) -> Frame:
        width, height = self._size
        rays = pixel_rays(self._pixels, scene.camera.intrinsics(width, height))
        geoms, depth_m, normals = self._hits(scene, rays)
        light = _shade(normals, scene.lighting, scene.camera.pose[:3, 2])
        colours = self._world.model.geom_rgba[geoms, :3] * light[:, None]
        colours[geoms < 0] = 0
        rgb = np.round(255 * np.minimum(colours, 1)).astype(np.uint8)
        return Frame(
            rgb=rgb.reshape(height, width, 3),
            depth_m=depth_m.astype(np.float32).reshape(height, width),
            segments=_segments(geoms).reshape(height, width),
        )

    def cast(self, scene: Scene, rays: Array) -> tuple[npt.NDArray[np.int16], Array, Array]:
        """What rays (N, 3) of the optical frame with z = 1 meet, whatever lens bent them there.

        returns: index of the object (N,), -1 = none of them; depth (N,), 0 = nothing at all;
            unit normal (N, 3) in the optical frame
        """
        geoms, depth_m, normals = self._hits(scene, rays)
        return _segments(geoms), depth_m, normals @ scene.camera.pose[:3, :3]

    def _hits(self, scene: Scene, rays: Array) -> tuple[npt.NDArray[np.int32], Array, Array]:
        self._world.show(scene)
        pose = scene.camera.pose
        return self._cast(rays @ pose[:3, :3].T, pose[:3, 3])

    def close(self) -> None:
        """Holds nothing that outlives it."""

    def _cast(self, rays: Array, origin: Array) -> tuple[npt.NDArray[np.int32], Array, Array]:
        """World rays (N, 3) with depth 1 -> geom ids (-1 = none), depths (0 = none), normals.

        MuJoCo's distances count in lengths of the ray, which makes them depths here.
        """
        n = len(rays)
        geoms, depth_m, normals = np.empty(n, np.int32), np.empty(n), np.empty(3 * n)
        mujoco.mj_multiRay(
            self._world.model,
            self._world.data,
            origin,
            rays.ravel(),
            None,
            True,  # static geoms too: the table and the floor
            -1,
            geoms,
            depth_m,
            normals,
            n,
            FAR_M,
        )
        return geoms, np.where(geoms < 0, 0.0, depth_m), normals.reshape(n, 3)


def _segments(geoms: npt.NDArray[np.int32]) -> npt.NDArray[np.int16]:
    """Geom ids -> indices into the scene's objects, -1 = none of them."""
    return np.maximum(geoms - FIRST_OBJECT, -1).astype(np.int16)


def _shade(normals: Array, lighting: Lighting, forward: Array) -> Array:
    """The light (N,) that surfaces with these unit normals (N, 3) send back."""
    directional = np.maximum(normals @ -np.array(lighting.direction), 0)
    frontal = np.maximum(normals @ -forward, 0)
    light: Array = lighting.directional * directional + lighting.frontal * frontal
    return lighting.ambient + light
