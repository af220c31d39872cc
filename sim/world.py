"""A MuJoCo model with a table and a fixed number of object slots, rewritten in place per scene.

Compiling a model costs milliseconds, writing a dozen arrays costs microseconds. Knows nothing of
pictures: gl.py and rays.py look at it.
"""

from __future__ import annotations

import mujoco
import numpy as np

from molmo_sim.camera import Camera, Vector
from molmo_sim.scene import MAX_OBJECTS, Lighting, Rgb, Scene, SceneObject

NEAR_M, FAR_M = 0.05, 40.0
_FLOOR_DEPTH_M = 0.75  # of the floor below the table's top
_FLOOR_HALF_M = 30.0
_THICKNESS_M = 0.03  # of the table's board
_HIDDEN = (0.0, 0.0, -100.0)  # where unused slots are parked, behind FAR_M

_TYPES = {
    "cube": mujoco.mjtGeom.mjGEOM_BOX,
    "sphere": mujoco.mjtGeom.mjGEOM_SPHERE,
    "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
    "capsule": mujoco.mjtGeom.mjGEOM_CAPSULE,
}

# Every geom has a body of its own: MuJoCo then takes its bounds from geom_aabb, which can be
# rewritten, and not from a tree built at compile time.
_GEOM = '<geom type="sphere" size="0.1" material="matte"/>'
_MJCF = f"""
<mujoco>
  <statistic extent="1"/>
  <visual>
    <global offwidth="{{width}}" offheight="{{height}}"/>
    <map znear="{NEAR_M}" zfar="{FAR_M}"/>
    <quality shadowsize="0" offsamples="0"/>
    <headlight specular="0 0 0"/>
  </visual>
  <asset><material name="matte" specular="0" shininess="0"/></asset>
  <worldbody>
    <light type="directional" specular="0 0 0" ambient="0 0 0" castshadow="false"/>
    <camera/>
    <body pos="0 0 {-_FLOOR_DEPTH_M - _THICKNESS_M / 2}">{_GEOM}</body>
    <body pos="0 0 {-_THICKNESS_M / 2}">{_GEOM}</body>
    {f'<body mocap="true">{_GEOM}</body>' * MAX_OBJECTS}
  </worldbody>
</mujoco>
"""
_FLOOR, _TABLE, FIRST_OBJECT = 0, 1, 2  # geom ids


class World:
    """The model and its state, as both renderers take them."""

    def __init__(self, width: int, height: int) -> None:
        """Compiles the model; width and height are those of the picture, pixels."""
        self.model = mujoco.MjModel.from_xml_string(_MJCF.format(width=width, height=height))
        self.data = mujoco.MjData(self.model)

    def show(self, scene: Scene) -> None:
        """Puts a scene into the slots."""
        self._set_lighting(scene.lighting)
        table, half_z = scene.table, _THICKNESS_M / 2
        self._set_geom(_FLOOR, "cube", (_FLOOR_HALF_M, _FLOOR_HALF_M, half_z), table.floor_rgb)
        self._set_geom(_TABLE, "cube", (*table.half_size_m, half_z), table.rgb)
        self.data.mocap_pos[:] = _HIDDEN
        for slot, thing in enumerate(scene.objects):
            self._set_geom(FIRST_OBJECT + slot, thing.shape, _half_size(thing), thing.rgb)
            self.data.mocap_pos[slot] = thing.position_m
            self.data.mocap_quat[slot] = thing.rotation
        self._set_camera(scene.camera)
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_camlight(self.model, self.data)

    def _set_lighting(self, lighting: Lighting) -> None:
        self.model.light_dir[0] = lighting.direction
        self.model.light_diffuse[0] = lighting.directional
        self.model.vis.headlight.diffuse[:] = [lighting.frontal] * 3
        self.model.vis.headlight.ambient[:] = [lighting.ambient] * 3

    def _set_camera(self, camera: Camera) -> None:
        """MuJoCo's cameras look along -z with y up: the optical frame, turned about x."""
        turned = camera.pose[:3, :3] * [1.0, -1.0, -1.0]
        mujoco.mju_mat2Quat(self.model.cam_quat[0], turned.ravel())
        self.model.cam_pos[0] = camera.position_m
        self.model.cam_fovy[0] = camera.fovy_deg

    def _set_geom(self, geom: int, shape: str, half_size_m: Vector, rgb: Rgb) -> None:
        model = self.model
        model.geom_type[geom] = _TYPES[shape]
        model.geom_size[geom] = _mujoco_size(shape, half_size_m)
        model.geom_rgba[geom] = (*rgb, 1.0)
        # Bounds: what a ray or the view frustum misses is not looked at.
        model.geom_rbound[geom] = np.linalg.norm(half_size_m)
        bounds = (0.0, 0.0, 0.0, *half_size_m)
        model.geom_aabb[geom] = bounds
        model.bvh_aabb[model.body_bvhadr[model.geom_bodyid[geom]]] = bounds


def _half_size(thing: SceneObject) -> Vector:
    x, y, z = thing.size_m
    return x / 2, y / 2, z / 2


def _mujoco_size(shape: str, half_size_m: Vector) -> Vector:
    """MuJoCo's own parameters: half extents; a radius; a radius and half the straight length."""
    x, _, z = half_size_m
    if shape == "sphere":
        return x, 0.0, 0.0
    if shape == "cylinder":
        return x, z, 0.0
    return (x, z - x, 0.0) if shape == "capsule" else half_size_m
