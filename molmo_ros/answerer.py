"""Asks about moments of a recording as the node would ask, and writes what it would publish.

Knows no bags to read from. What came of it all is a Summary.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from statistics import median
from typing import Any
from uuid import uuid4

from molmo_engine.predictor import Predictor
from molmo_ros import asking, messages, outputs
from molmo_ros.asking import Question, Reply
from molmo_ros.bag_writer import BagWriter
from molmo_ros.bags import CameraTopics
from molmo_ros.ending import Ending
from molmo_ros.geometry import Status
from molmo_ros.moments import Moment
from molmo_ros.outputs import is_complete
from molmo_ros.parameters import Parameters
from molmo_ros.recorded_transforms import RecordedTransforms

TOPICS = {name: f"/molmo/{name}" for name in outputs.KINDS}  # as of a node named molmo


@dataclass
class Summary:
    """What came of an order.

    waypoints: by their status
    total_ms:  of each answer
    notes:     what went wrong or is doubtful, and how often
    """

    topics: CameraTopics
    frames: int = 0
    endings: Counter[Ending] = field(default_factory=Counter)
    waypoints: Counter[Status] = field(default_factory=Counter)
    total_ms: list[float] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)

    def count(self, reply: Reply) -> None:
        """Takes an answer into account."""
        self.endings[reply.ending] += 1
        self.waypoints.update(located.location.status for located in reply.points)
        self.total_ms.append(reply.total_ms)
        if not is_complete(reply):
            self.notes[f"{reply.ending.name}: {reply.message}"] += 1
        elif reply.points:
            self.notes.update([*reply.view.notes, *reply.placement.notes])

    def figures(self) -> dict[str, Any]:
        """All of it as plain values; ms_per_answer is the median."""
        answers = self.endings.total()
        ok, no_point = self.endings[Ending.OK], self.endings[Ending.NO_POINT]
        return {
            "topics": asdict(self.topics),
            "frames": self.frames,
            "answers": answers,
            "ok": ok,
            "no_point": no_point,
            "errors": answers - ok - no_point,
            "waypoints": {status.name: n for status, n in sorted(self.waypoints.items())},
            "ms_per_answer": round(median(self.total_ms), 1),
            "notes": dict(self.notes),
        }


class Answerer:
    """Puts questions to a model, one moment after the other."""

    def __init__(
        self,
        predictor: Predictor,
        settings: Parameters,
        transforms: RecordedTransforms,
        writer: BagWriter,
        summary: Summary,
    ) -> None:
        """settings: as of the node, but that nothing is waited for and any age will do."""
        self._predictor = predictor
        self._settings = replace(settings, max_frame_age_s=0.0, frame_wait_s=0.0, tf_timeout_s=0.0)
        self._transforms = transforms
        self._writer = writer
        self._summary = summary
        for name, kind in outputs.KINDS.items():
            writer.announce(TOPICS[name], kind)

    def answer(self, moment: Moment, prompts: Sequence[str]) -> None:
        """Asks all questions about a moment; those that are answered share a picture."""
        self._summary.frames += 1
        self._transforms.advance(moment.time_ns)
        complete = []
        for prompt in prompts:
            reply, answer = self._ask(moment, prompt)
            self._summary.count(reply)
            for name, message in outputs.told(reply, answer):
                self._write(name, moment, message)
            if is_complete(reply):
                complete.append((reply, answer))
        if complete:
            replies, answers = zip(*complete, strict=True)
            self._write("markers", moment, outputs.draw_markers(answers))
            self._write("annotated", moment, outputs.draw_picture(replies))

    def _ask(self, moment: Moment, prompt: str) -> tuple[Reply, Any]:
        """The reply to one question, and the message about it."""
        question = Question(
            request_id=uuid4().hex, prompt=prompt, timeout_s=math.inf, is_cancelled=lambda: False
        )
        reply = asking.answer(
            question,
            self._predictor,
            moment.eyes,
            self._settings,
            lambda reply: None,
            self._transforms,
        )
        model, engine = self._predictor.model_id, self._predictor.engine_id
        return reply, messages.answer(reply, math.nan, model, engine)

    def _write(self, name: str, moment: Moment, message: Any) -> None:
        self._writer.write(TOPICS[name], moment.time_ns, message)
