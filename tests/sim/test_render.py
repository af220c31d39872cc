import numpy as np
import pytest

from molmo_sim.camera import deproject, pixel_rays, project
from molmo_sim.render import open_renderer
from molmo_sim.scene import sample_scene

WIDTH, HEIGHT = 320, 240
SEEDS = [(5, index) for index in range(4)]


def scene_with(shape):
    """The first of a series of scenes that holds such an object, and the object's place in it."""
    for index in range(100):
        scene = sample_scene((6, index))
        for place, thing in enumerate(scene.objects):
            if thing.shape == shape:
                return scene, place
    raise AssertionError(f"no {shape} in 100 scenes")


@pytest.fixture(scope="module")
def both():
    try:
        renderers = [open_renderer(WIDTH, HEIGHT, backend) for backend in ("gl", "rays")]
    except RuntimeError as reason:
        pytest.skip(str(reason))
    yield renderers
    for renderer in renderers:
        renderer.close()


def test_frames_have_the_shapes_and_types_they_promise(renderer):
    frame = renderer.render(sample_scene(1))
    assert frame.rgb.shape == (HEIGHT, WIDTH, 3) and frame.rgb.dtype == np.uint8
    assert frame.depth_m.shape == (HEIGHT, WIDTH) and frame.depth_m.dtype == np.float32
    assert frame.segments.shape == (HEIGHT, WIDTH) and frame.segments.dtype == np.int16
    assert frame.rgb.flags.c_contiguous and frame.depth_m.flags.c_contiguous


def test_a_scene_looks_the_same_whatever_was_rendered_before(renderer):
    first = renderer.render(sample_scene(1))
    renderer.render(sample_scene(2))
    again = renderer.render(sample_scene(1))
    assert np.array_equal(first.rgb, again.rgb)
    assert np.array_equal(first.depth_m, again.depth_m)
    assert np.array_equal(first.segments, again.segments)


@pytest.mark.parametrize("seed", SEEDS)
def test_objects_are_seen_where_their_centres_project(renderer, seed):
    scene = sample_scene(seed)
    segments = renderer.render(scene).segments
    k = scene.camera.intrinsics(WIDTH, HEIGHT)
    pixels, _ = project([thing.position_m for thing in scene.objects], scene.camera.pose, k)
    for place, (u, v) in enumerate(pixels):
        seen_v, seen_u = (where.mean() for where in np.nonzero(segments == place))
        # Perspective and what hides a part move the centroid: by pixels, never by an object.
        assert np.hypot(u - seen_u, v - seen_v) < 4


def test_depth_is_that_of_the_sphere_along_each_ray(renderer):
    scene, place = scene_with("sphere")
    frame = renderer.render(scene)
    v, u = np.nonzero(frame.segments == place)
    rays = pixel_rays(np.column_stack([u, v]), scene.camera.intrinsics(WIDTH, HEIGHT))
    thing, pose = scene.objects[place], scene.camera.pose
    centre = pose[:3, :3].T @ (np.array(thing.position_m) - pose[:3, 3])
    # |t ray - centre| = radius, solved for the nearer t; at the rim the root is lost in rounding.
    a, b = (rays**2).sum(1), rays @ centre
    root = b**2 - a * (centre @ centre - (thing.size_m[0] / 2) ** 2)
    inside = root > np.quantile(root, 0.2)
    expected = (b - np.sqrt(np.maximum(root, 0))) / a
    # OpenGL draws the sphere as flat facets: up to half a millimetre behind the true surface.
    assert np.abs(frame.depth_m[v, u] - expected)[inside].max() < 1e-3


def test_the_table_deprojects_to_the_plane_at_height_zero(renderer):
    scene = sample_scene(11)
    frame = renderer.render(scene)
    v, u = np.nonzero((frame.segments < 0) & (frame.depth_m > 0))
    k = scene.camera.intrinsics(WIDTH, HEIGHT)
    pixels = np.column_stack([u, v])
    points = deproject(pixels, frame.depth_m[v, u], scene.camera.pose, k)
    on_table = np.all(np.abs(points[:, :2]) < np.array(scene.table.half_size_m) - 0.01, axis=1)
    above_floor = points[:, 2] > -0.02  # the floor seen beside the table may lie within too
    assert np.count_nonzero(on_table & above_floor) > 5000
    assert np.abs(points[on_table & above_floor, 2]).max() < 5e-4


@pytest.mark.parametrize("seed", SEEDS)
def test_both_backends_show_the_same(both, seed):
    gl, rays = (renderer.render(sample_scene(seed)) for renderer in both)
    difference = np.abs(gl.rgb.astype(float) - rays.rgb)
    assert difference.mean() < 0.3  # grey levels; edges differ by a pixel here and there
    assert np.median(np.abs(gl.depth_m - rays.depth_m)) < 1e-4
    for place in range(len(sample_scene(seed).objects)):
        one, other = gl.segments == place, rays.segments == place
        assert (one & other).sum() > 0.95 * (one | other).sum()


def test_an_unknown_backend_is_refused_by_name():
    with pytest.raises(ValueError, match="'vulkan'.*'auto', 'gl' or 'rays'"):
        open_renderer(backend="vulkan")
