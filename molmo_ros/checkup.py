"""What is checked once a second: the cameras, the transforms, the answers and the engine.

Asks the parts of the node how they are doing, and lets health.py judge. Knows no topics.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from molmo_ros.convert import ConvertError
from molmo_ros.diagnostics import Check
from molmo_ros.eyes import Eyes
from molmo_ros.frames import NO_DEPTH_IMAGE, Frame, open_frame
from molmo_ros.health import Finding, judge_answers, judge_camera, judge_engine, judge_transforms
from molmo_ros.inputs import Inputs
from molmo_ros.parameters import Parameters
from molmo_ros.placing import Transforms, needs_transforms, place
from molmo_ros.tally import Tally
from molmo_ros.worker import Worker

Identity = tuple[str, str]  # of model and engine; empty while nothing is loaded


@dataclass(frozen=True, kw_only=True)
class Checkup:
    """The parts of the node that are looked at."""

    inputs: Inputs
    transforms: Transforms
    worker: Worker
    tally: Tally
    settings: Callable[[], Parameters]
    identity: Callable[[], Identity]
    _seen: dict[str, Frame | None] = field(default_factory=dict)

    def checks(self) -> dict[str, Check]:
        """By what they look at."""
        cameras = {
            f"camera {name}".rstrip(): partial(self._camera, name) for name in self.inputs.names
        }
        return {
            **cameras,
            "transforms": self._transforms,
            "answers": lambda: judge_answers(self.tally.report(), self.worker.waiting),
            "engine": lambda: judge_engine(*self.identity(), self.settings().bundle),
        }

    def _camera(self, name: str) -> Finding:
        settings, report = self.settings(), self.inputs.report(name)
        frame = _newest(self.inputs.eyes(name), settings) if report else None
        doubts = _doubts(frame, settings) if frame else ()
        return judge_camera(report, doubts, settings.slop_s, settings.max_frame_age_s)

    def _transforms(self) -> Finding:
        """About the frames of the last check: transforms of the newest may be on their way."""
        settings = self.settings()
        at_once = replace(settings, tf_timeout_s=0.0)
        notes: list[str] = []
        for name in self.inputs.names if needs_transforms(settings) else ():
            eyes, frame = self.inputs.eyes(name), self._seen.get(name)
            if frame and self.inputs.report(name):
                placed = place(frame, eyes.has_depth, self.transforms, at_once, lambda: None)
                notes += placed.notes
            self._seen[name] = _newest(eyes, settings)
        return judge_transforms(settings.target_frame, notes)


def _newest(eyes: Eyes, settings: Parameters) -> Frame | None:
    return eyes.next(settings.slop_s, -1.0, 0.0)


def _doubts(frame: Frame, settings: Parameters) -> tuple[str, ...]:
    """What is wrong with a frame; that it has no depth is told by the stream, where it matters."""
    try:
        view = open_frame(frame, rectified=settings.rectified)
    except ConvertError as error:
        return (str(error),)
    return tuple(note for note in view.notes if note != NO_DEPTH_IMAGE)
