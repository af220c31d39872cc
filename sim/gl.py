"""Renders a scene with MuJoCo's OpenGL renderer in a headless EGL context.

Two passes per frame: colour, then object ids together with depth.
"""

from __future__ import annotations

import mujoco
import numpy as np
import numpy.typing as npt
from mujoco.egl import GLContext

from molmo_sim.render import Frame
from molmo_sim.scene import Scene
from molmo_sim.world import FAR_M, FIRST_OBJECT, NEAR_M, World


class GlRenderer:
    """A Renderer on OpenGL; software rasterisers (Mesa llvmpipe) do."""

    def __init__(self, width: int, height: int) -> None:
        self._gl = GLContext(width, height)
        self._gl.make_current()
        self._world = World(width, height)
        model = self._world.model
        self._view = mujoco.MjvScene(model, maxgeom=model.ngeom)
        self._option = mujoco.MjvOption()
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._camera.fixedcamid = 0
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        self._context.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._viewport = mujoco.MjrRect(0, 0, width, height)
        self._shape = (height, width)

    def render(self, scene: Scene) -> Frame:
        self._gl.make_current()
        world = self._world
        world.show(scene)
        mujoco.mjv_updateScene(
            world.model,
            world.data,
            self._option,
            None,
            self._camera,
            mujoco.mjtCatBit.mjCAT_ALL,
            self._view,
        )
        rgb, _ = self._draw(as_ids=False)
        ids, depth = self._draw(as_ids=True)
        return Frame(rgb=rgb, depth_m=_metres(depth), segments=self._segments(ids))

    def close(self) -> None:
        with self._gl.as_current():
            self._context.free()
        self._gl.free()

    def _draw(self, as_ids: bool) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
        """Draws the view and reads it back, top row first: colours or ids, raw depth."""
        self._view.flags[mujoco.mjtRndFlag.mjRND_SEGMENT] = as_ids
        self._view.flags[mujoco.mjtRndFlag.mjRND_IDCOLOR] = as_ids
        mujoco.mjr_render(self._viewport, self._view, self._context)
        rgb = np.empty((*self._shape, 3), np.uint8)
        depth = np.empty(self._shape, np.float32)
        mujoco.mjr_readPixels(rgb, depth, self._viewport, self._context)
        return rgb[::-1].copy(), depth[::-1].copy()

    def _segments(self, ids: npt.NDArray[np.uint8]) -> npt.NDArray[np.int16]:
        """Colours of the id pass -> object indices; the first channel is 1 + place in the view."""
        table = np.full(256, -1, np.int16)
        for place in range(self._view.ngeom):
            drawn = self._view.geoms[place]
            table[drawn.segid + 1] = max(drawn.objid - FIRST_OBJECT, -1)
        return table[ids[:, :, 0]]


def _metres(depth: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Undoes the reversed perspective depth (1 at NEAR_M, 0 at FAR_M and where nothing is)."""
    inverse = depth * np.float32(1 / NEAR_M - 1 / FAR_M) + np.float32(1 / FAR_M)
    metres: npt.NDArray[np.float32] = np.where(depth > 0, 1 / inverse, np.float32(0))
    return metres
