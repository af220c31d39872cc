"""Tracks the points of the last answer of each camera, in a thread of its own.

While a question is answered, glimpses of the frames are remembered; once the answer is there, its
points are carried through them to the newest frame, and from then on to each new one. The thread
lives only while there is something to remember or to track. Knows no topics.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from time import monotonic

from molmo_ros.asking import Located, Reply
from molmo_ros.convert import ConvertError
from molmo_ros.ending import Ending
from molmo_ros.eyes import Eyes
from molmo_ros.frames import Frame, View, open_frame
from molmo_ros.geometry import Location, Status
from molmo_ros.glimpses import Glimpse, Past, glimpse
from molmo_ros.parameters import Parameters
from molmo_ros.placing import Placement, Transforms, needs_transforms, place
from molmo_ros.tracking import Tracked, Tracker

log = logging.getLogger(__name__)

HURRY_S = 0.03  # how long a frame waits for its transform
GLANCE_S = 0.1  # between two looks whether there is still something to do, without frames


@dataclass(frozen=True)
class Carried:
    """An answer's points in a newer frame.

    reply:       the answer as if it were about that frame
    confidences: of each point, that it is still on its spot; 0 when it is lost
    answered:    the frame that the model saw
    """

    reply: Reply
    confidences: list[float]
    answered: Frame


@dataclass(frozen=True)
class Target:
    """What is tracked, and until when (time.monotonic() seconds)."""

    reply: Reply
    tracker: Tracker
    until_s: float


class Pursuits:
    """The pursuits of all cameras."""

    def __init__(
        self,
        eyes: Callable[[str], Eyes],
        settings: Callable[[], Parameters],
        transforms: Transforms,
        is_heard: Callable[[], bool],
        publish: Callable[[Carried], None],
    ) -> None:
        """eyes: of a camera, by its name; is_heard: whether anybody listens to what is published.

        publish: called for each frame, from the threads of the pursuits
        """
        self._eyes = eyes
        self._begin = lambda seeing: Pursuit(seeing, settings, transforms, is_heard, publish)
        self._lock = threading.Lock()
        self._pursuits: dict[Eyes, Pursuit] = {}

    def of(self, camera: str) -> Pursuit:
        """The pursuit of a camera, by its name."""
        eyes = self._eyes(camera)
        with self._lock:
            if eyes not in self._pursuits:
                self._pursuits[eyes] = self._begin(eyes)
            return self._pursuits[eyes]

    def stop(self) -> None:
        """Ends all of them; new ones begin with the next question."""
        with self._lock:
            stopped, self._pursuits = self._pursuits, {}
        for pursuit in stopped.values():
            pursuit.stop()


class Pursuit:
    """Tracks in the images of one camera; its methods may be called from any thread."""

    def __init__(
        self,
        eyes: Eyes,
        settings: Callable[[], Parameters],
        transforms: Transforms,
        is_heard: Callable[[], bool],
        publish: Callable[[Carried], None],
    ) -> None:
        self._eyes = eyes
        self._settings = settings
        self._transforms = transforms
        self._is_heard = is_heard
        self._publish = publish
        # These belong to the thread, the others to the lock.
        self._past = Past()
        self._target: Target | None = None
        self._last_s = 0.0  # stamp of the newest frame that was looked at

        self._lock = threading.Lock()
        self._questions = 0  # that are being answered
        self._answer: Reply | None = None  # the newest, until the thread takes it
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def question(self) -> Iterator[None]:
        """While a question is answered: frames are remembered, if somebody listens."""
        with self._lock:
            self._questions += 1
            if self._thread is None and self._is_wanted():
                self._thread = threading.Thread(target=self._run, name="molmo_pursuit")
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                self._questions -= 1

    def follow(self, reply: Reply) -> None:
        """Tracks the points of this answer in place of others; called within its question."""
        with self._lock:
            if self._thread is not None and reply.ending in (Ending.OK, Ending.NO_POINT):
                self._answer = reply

    def stop(self) -> None:
        """Ends tracking for good."""
        self._stopped.set()
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while self._goes_on():
            due_s = monotonic() + 1 / self._settings().track_rate_hz
            try:
                self._step()
            except ConvertError as error:  # who asks about such an image is told
                log.debug("nothing can be tracked in an image: %s", error)
            except Exception:  # whatever it is, the next answer shall be tracked again
                log.exception("tracking ended early")
                self._target = None
            self._stopped.wait(max(0.0, due_s - monotonic()))

    def _goes_on(self) -> bool:
        """Whether there is something to do; if not, the thread is taken off."""
        if self._target is not None and monotonic() > self._target.until_s:
            self._target = None
        with self._lock:
            is_busy = self._questions or self._answer is not None or self._target is not None
            if is_busy and self._is_wanted():
                return True
            self._answer, self._target, self._past, self._last_s = None, None, Past(), 0.0
            self._thread = None
            return False

    def _is_wanted(self) -> bool:
        return not self._stopped.is_set() and self._is_heard() and self._settings().track

    def _step(self) -> None:
        """Takes up a new answer, and looks at the next frame."""
        settings = self._settings()
        with self._lock:
            answer, self._answer = self._answer, None
            is_asked = self._questions > 0
        if answer is not None:
            self._target = _aim(answer, self._past, settings)
        frame = self._eyes.next(settings.slop_s, self._last_s, GLANCE_S)
        if frame is None:
            return
        self._last_s = frame.stamp_s
        view = open_frame(frame, rectified=settings.rectified, errors=settings.errors)
        seen = glimpse(frame.stamp_s, view.rgb, view.depth_m, view.camera)
        if is_asked:
            self._past.add(seen)
        else:
            self._past = Past()
        if self._target is not None and frame.stamp_s > self._target.reply.frame.stamp_s:
            placement = self._place(frame, settings)
            self._publish(_carry(self._target, frame, view, placement, seen))

    def _place(self, frame: Frame, settings: Parameters) -> Placement:
        """Where the camera was; a transform that comes after the next frame is not awaited."""
        if needs_transforms(settings):
            self._transforms.open(settings.tf_buffer_s)
        hurried = replace(settings, tf_timeout_s=min(settings.tf_timeout_s, HURRY_S))
        return place(frame, self._eyes.has_depth, self._transforms, hurried, lambda: None)


def _aim(reply: Reply, past: Past, settings: Parameters) -> Target | None:
    """Carries the points of an answer through what was seen since; None when it has none."""
    if not reply.points:
        return None
    view, taken_s = reply.view, reply.frame.stamp_s
    first = glimpse(taken_s, view.rgb, view.depth_m, view.camera)
    tracker = Tracker(first, [located.found.pixel for located in reply.points])
    for seen in past.since(taken_s):
        tracker.step(seen)
    return Target(reply, tracker, monotonic() + settings.track_for_s)


def _carry(
    target: Target, frame: Frame, view: View, placement: Placement, seen: Glimpse
) -> Carried:
    """The points of an answer in a newer frame."""
    tracked = target.tracker.step(seen)
    points = [
        _moved(located, point, view, placement)
        for located, point in zip(target.reply.points, tracked, strict=True)
    ]
    reply = replace(target.reply, frame=frame, view=view, placement=placement, points=points)
    return Carried(reply, [point.confidence for point in tracked], target.reply.frame)


def _moved(located: Located, point: Tracked, view: View, placement: Placement) -> Located:
    """A point where it is now; one of which the model was unsure stays out of use."""
    if point.is_lost:
        location, named = Location(status=Status.LOST), ""
    else:
        location, named = placement.locate(view, point.pixel)
        if location.status == Status.OK and located.location.status == Status.LOW_CONFIDENCE:
            location = replace(location, status=Status.LOW_CONFIDENCE)
    return Located(replace(located.found, pixel=point.pixel), location, named)
