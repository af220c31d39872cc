"""Waypoints carried forward while the camera moves: asked and heard over real DDS."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
from geometry_msgs.msg import PoseArray
from robot import Robot, Shot, bare_table
from std_msgs.msg import Header

from molmo_ros.msg import Answer, Waypoint
from molmo_sim import motion
from molmo_sim.questions import questions_about
from molmo_sim.render import open_renderer
from molmo_sim.scene import sample_scene

SIZE = (320, 240)
STEPS = 60


class Film:
    """A camera that slides to and fro above a table; knows where a surface point is seen."""

    def __init__(self) -> None:
        renderer = open_renderer(*SIZE)
        self._scenes = [motion.slide(sample_scene(11), step / STEPS / 2) for step in range(STEPS)]
        self._frames = [renderer.render(scene) for scene in self._scenes]
        renderer.close()
        k = self._scenes[0].camera.intrinsics(*SIZE)
        self._shots = [Shot(frame.rgb, frame.depth_m, k) for frame in self._frames]
        questions = questions_about(self._scenes[0], self._frames[0], np.random.default_rng(0))
        self.prompt = next(
            q.prompt
            for q in questions
            if q.kind == "point" and q.count == 1 and q.label[-1] != "s" and q.points[0][0] > 40
        )  # a single thing that stays in the picture, which moves to the left

    def play(self, robot: Robot) -> Showing:
        """Publishes the pictures at 30 Hz from now on, whenever this side spins."""
        return Showing(robot, self._shots)

    def sees(self, waypoint: Waypoint) -> bool:
        """Whether the position of a waypoint is on the ray of its pixel."""
        position = waypoint.pose.pose.position
        u, v, _ = self._shots[0].k @ [position.x / position.z, position.y / position.z, 1.0]
        return np.allclose([u, v], [waypoint.u, waypoint.v], atol=0.01)  # float32 pixels

    def truth(self, answered: int, pixel: tuple[float, float], now: int) -> np.ndarray:
        """Where the surface point behind a pixel of one step is seen in another one."""
        point = motion.surface_points(self._scenes[answered], self._frames[answered], [pixel])
        return motion.follow(self._scenes[now], self._frames[now], point)[0][0]


class Showing:
    """A film that runs; remembers the header and the step of every picture."""

    def __init__(self, robot: Robot, shots: list[Shot]) -> None:
        self.taken: list[tuple[Header, int]] = []
        self._robot, self._shots = robot, shots
        self._steps = itertools.cycle([*range(STEPS), *reversed(range(STEPS))])
        self._timer = robot.node.create_timer(1 / 30, self._see)

    def go_on(self, count: int) -> None:
        """Returns after so many more pictures."""
        enough = len(self.taken) + count
        self._robot.until(lambda: len(self.taken) >= enough, "more pictures")

    def stop(self) -> None:
        self._robot.node.destroy_timer(self._timer)

    def step_of(self, header: Header) -> int:
        return next(step for taken, step in self.taken if taken == header)

    def _see(self) -> None:
        step = next(self._steps)
        self.taken.append((self._robot.see(self._shots[step]), step))


@pytest.fixture(scope="module")
def film() -> Film:
    return Film()


@dataclass(frozen=True)
class Pursued:
    """An answer that is being tracked, and what the node says about it."""

    answer: Answer
    tracked: list[Answer]
    poses: list[PoseArray]
    showing: Showing


@pytest.fixture
def pursued(host, film) -> Pursued:
    """One thing pointed to, followed by a node that knows that somebody listens."""
    tracked, poses = (
        host.listen(Answer, "molmo/tracked"),
        host.listen(PoseArray, "molmo/tracked_poses"),
    )
    showing = film.play(host)

    def asked() -> Answer | None:
        answer = host.ask(film.prompt)
        showing.go_on(15)
        return answer if tracked else None

    answer = host.until(asked, "a tracked answer")
    host.until(lambda: tracked[-1].request_id == answer.request_id, "tracking of this answer")
    return Pursued(answer, tracked, poses, showing)


def test_tracked_waypoints_follow_the_moving_camera(host, pursued, film):
    host.until(lambda: len(pursued.tracked) > 60, "tracked answers")
    ours = [one for one in pursued.tracked if one.request_id == pursued.answer.request_id]
    (named,) = pursued.answer.waypoints
    start = pursued.showing.step_of(pursued.answer.header)
    for one in ours:
        (waypoint,) = one.waypoints
        now = pursued.showing.step_of(one.header)
        truth = film.truth(start, (named.u, named.v), now)
        assert [waypoint.u, waypoint.v] == pytest.approx(truth, abs=3.0)
        assert (waypoint.status, waypoint.header) == (Waypoint.OK, one.header)
        assert waypoint.label == named.label
        assert 0.4 < waypoint.tracking_confidence <= 1
        assert film.sees(waypoint)
    steps = [pursued.showing.step_of(one.header) for one in ours]
    assert max(steps) - min(steps) > STEPS / 3  # it did move


def test_every_tracked_answer_is_about_a_newer_image_and_says_how_old_the_first_is(host, pursued):
    host.until(lambda: len(pursued.tracked) > 20, "tracked answers")
    ours = [one for one in pursued.tracked if one.request_id == pursued.answer.request_id]
    stamps = [stamp_s(one.header) for one in ours]
    assert stamp_s(pursued.answer.header) < stamps[0]
    assert all(earlier < later for earlier, later in itertools.pairwise(stamps))
    ages = [one.waypoints[0].age_s for one in ours]
    taken = stamp_s(pursued.answer.header)
    assert all(age >= stamp - taken for age, stamp in zip(ages, stamps, strict=True))


def test_poses_are_those_of_the_tracked_waypoints(host, pursued):
    host.until(lambda: len(pursued.poses) > 5, "tracked poses")
    last = pursued.poses[-1]
    host.until(lambda: any(one.header == last.header for one in pursued.tracked), "its answer")
    (same,) = (one for one in pursued.tracked if one.header == last.header)
    assert last.poses == [same.waypoints[0].pose.pose]


def test_a_thing_out_of_sight_is_lost_and_has_no_pose(host, pursued):
    pursued.showing.stop()
    host.film(bare_table())
    host.until(lambda: pursued.tracked[-1].header in host.filmed, "tracking in the new pictures")
    (waypoint,) = pursued.tracked[-1].waypoints
    assert (waypoint.status, waypoint.tracking_confidence) == (Waypoint.LOST, 0.0)
    assert np.isnan(waypoint.pose.pose.position.z)
    host.until(lambda: pursued.poses[-1].header in host.filmed, "poses of the new pictures")
    assert pursued.poses[-1].poses == []


def test_tracking_ends_when_it_is_switched_off(host, pursued):
    assert host.set_parameter("track", False)
    try:
        pursued.showing.go_on(5)
        last = len(pursued.tracked)
        host.ask(pursued.answer.prompt)
        pursued.showing.go_on(10)
        assert len(pursued.tracked) == last
    finally:
        assert host.set_parameter("track", True)


def test_tracking_ends_after_its_time(host, pursued):
    assert host.set_parameter("track_for_s", 0.5)
    try:
        answer = host.ask(pursued.answer.prompt)
        host.until(
            lambda: stamp_s(pursued.showing.taken[-1][0]) > stamp_s(answer.header) + 1.5,
            "pictures of 1.5 s",
        )
        assert stamp_s(pursued.tracked[-1].header) < stamp_s(answer.header) + 1.2
    finally:
        assert host.set_parameter("track_for_s", 10.0)


def test_a_deactivated_node_tracks_nothing(host, pursued):
    assert host.transition("deactivate")
    pursued.showing.go_on(5)
    last = len(pursued.tracked)
    pursued.showing.go_on(10)
    assert len(pursued.tracked) == last


def stamp_s(header: Header) -> float:
    return header.stamp.sec + 1e-9 * header.stamp.nanosec
