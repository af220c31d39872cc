"""What a camera sees of a scene: colour, depth and which object each pixel shows.

One interface, two backends: OpenGL (gl.py) and plain ray casting (rays.py), which needs nothing
but pip. Both show the same picture up to a pixel along the edges.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from molmo_sim.scene import Scene

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Frame:
    """One picture with its truth.

    rgb:      (H, W, 3) uint8
    depth_m:  (H, W) float32 along the optical axis, 0 where nothing is
    segments: (H, W) int16, index into the scene's objects, -1 = none of them
    """

    rgb: npt.NDArray[np.uint8]
    depth_m: npt.NDArray[np.float32]
    segments: npt.NDArray[np.int16]


class Renderer(Protocol):
    """Renders scenes of one picture size, in the thread that opened it."""

    def render(self, scene: Scene) -> Frame: ...

    def close(self) -> None: ...


def open_renderer(width: int = 640, height: int = 480, backend: str = "auto") -> Renderer:
    """Opens "gl", "rays", or ("auto") OpenGL where a context opens and ray casting elsewhere."""
    if backend not in ("auto", "gl", "rays"):
        raise ValueError(f"renderer backend {backend!r}: wanted 'auto', 'gl' or 'rays'")
    if backend != "rays":
        try:
            from molmo_sim.gl import GlRenderer

            return GlRenderer(width, height)
        except (ImportError, AttributeError, OSError, RuntimeError) as reason:
            # PyOpenGL raises any of these where the EGL library or its device is missing.
            if backend == "gl":
                raise RuntimeError(
                    f"no OpenGL context opens through EGL ({reason}). Install libegl1 and "
                    "libgl1-mesa-dri, or use the backend 'rays'."
                ) from reason
            log.info("no OpenGL (%s): ray casting, slower", reason)
    from molmo_sim.rays import RayRenderer

    return RayRenderer(width, height)
