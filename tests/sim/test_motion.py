import numpy as np
import pytest

from molmo_sim import motion
from molmo_sim.camera import project
from molmo_sim.scene import sample_scene

SCENE = sample_scene(11)


def seen(scene, point_m):
    """Pixel and depth of a world point at 640x480."""
    camera = scene.camera
    pixels, depths_m = project([point_m], camera.pose, camera.intrinsics(640, 480))
    return pixels[0], depths_m[0]


@pytest.mark.parametrize(
    "move", [motion.slide, motion.approach, motion.roll, motion.orbit, motion.sweep]
)
def test_every_motion_begins_at_the_scene_itself(move):
    assert move(SCENE, 0.0).camera == SCENE.camera
    assert move(SCENE, 0.0).objects[: len(SCENE.objects)] == SCENE.objects


def test_approaching_ends_at_half_the_distance():
    target = SCENE.camera.target_m
    _, before_m = seen(SCENE, target)
    pixel, after_m = seen(motion.approach(SCENE, 1.0), target)
    assert after_m == pytest.approx(before_m / 2)
    assert pixel == pytest.approx([319.5, 239.5])


def test_sliding_moves_the_target_to_the_left_and_turns_nothing():
    pixel, depth_m = seen(motion.slide(SCENE, 1.0), SCENE.camera.target_m)
    focal = SCENE.camera.intrinsics(640, 480)[0, 0]
    assert pixel == pytest.approx([319.5 - focal * motion.SLIDE_M / depth_m, 239.5])


def test_rolling_turns_the_picture_about_its_middle():
    point = SCENE.objects[0].position_m
    before = seen(SCENE, point)[0] - [319.5, 239.5]
    after = seen(motion.roll(SCENE, 1.0), point)[0] - [319.5, 239.5]
    assert np.hypot(*after) == pytest.approx(np.hypot(*before))
    turn = np.exp(-1j * np.radians(motion.ROLL_DEG))
    assert complex(*after) == pytest.approx(complex(*before) * turn)


def test_orbiting_keeps_target_and_distance():
    before = seen(SCENE, SCENE.camera.target_m)
    after = seen(motion.orbit(SCENE, 1.0), SCENE.camera.target_m)
    assert after[0] == pytest.approx(before[0]) and after[1] == pytest.approx(before[1])


def test_surface_points_are_followed_and_known_to_be_hidden(any_renderer):
    frame = any_renderer.render(SCENE)
    v, u = np.argwhere(frame.segments == 0).mean(axis=0).round()
    points = motion.surface_points(SCENE, frame, [(u, v)])
    pixels, is_seen = motion.follow(SCENE, frame, points)
    assert pixels[0] == pytest.approx([u, v]) and is_seen.all()
    was_hidden = []
    for progress in np.linspace(0, 1, 21):
        scene = motion.sweep(SCENE, progress)
        covered = any_renderer.render(scene)
        pixels, is_seen = motion.follow(scene, covered, points)
        assert pixels[0] == pytest.approx([u, v])
        ball = len(scene.objects) - 1
        assert is_seen[0] == (covered.segments[int(v), int(u)] != ball)
        was_hidden.append(not is_seen[0])
    assert any(was_hidden) and not was_hidden[0] and not was_hidden[-1]


def test_a_point_out_of_the_picture_is_not_seen(any_renderer):
    frame = any_renderer.render(SCENE)
    _, is_seen = motion.follow(SCENE, frame, np.array([[5.0, 0.0, 0.0]]))
    assert not is_seen[0]
