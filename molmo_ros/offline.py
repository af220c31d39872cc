"""Answers about a recorded camera, without nodes: a bag in, a bag with the answers out.

What answers is what answers on the robot (asking.py, eyes.py), and what goes out is what the node
publishes (outputs.py), at the time at which the image was recorded.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

from rosbags.interfaces import Connection, QosDurability

from molmo_engine.predictor import Predictor
from molmo_ros import asking, messages, outputs
from molmo_ros.asking import Question, Reply
from molmo_ros.bag_writer import BagWriter, new_bag
from molmo_ros.bags import Bag, BagError, CameraTopics, Record, choose_topics
from molmo_ros.definitions import DefinitionError
from molmo_ros.ending import Ending
from molmo_ros.geometry import Status
from molmo_ros.moments import Moment, Moments
from molmo_ros.parameters import Parameters

TOPICS = {name: f"/molmo/{name}" for name in outputs.KINDS}  # as of a node named molmo


@dataclass(frozen=True, kw_only=True)
class Order:
    """What to ask about which recording, and where the answers go.

    image, depth, camera_info: topics; found by themselves where only one could be meant
    every_s:      seconds of recording from one question to the next; 0 asks about every image
    start_s, end_s: the part of the recording, in seconds since its first message
    slop_s, rectified: as the node's parameters
    copies:       the recording goes into the new bag, too
    force:        replaces a bag that is there already
    """

    source: Path
    output: Path
    prompts: Sequence[str]
    image: str | None = None
    depth: str | None = None
    camera_info: str | None = None
    every_s: float = 1.0
    start_s: float = 0.0
    end_s: float = math.inf
    slop_s: float = Parameters.slop_s
    rectified: bool = False
    copies: bool = True
    force: bool = False


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
        if reply.message:
            self.notes[f"{reply.ending.name}: {reply.message}"] += 1
        elif reply.points:
            self.notes.update(reply.view.notes)

    def figures(self) -> dict[str, Any]:
        """All of it as plain values; ms_per_answer is the median."""
        ok, no_point = self.endings[Ending.OK], self.endings[Ending.NO_POINT]
        return {
            "topics": asdict(self.topics),
            "frames": self.frames,
            "answers": self.endings.total(),
            "ok": ok,
            "no_point": no_point,
            "errors": self.endings.total() - ok - no_point,
            "waypoints": {status.name: n for status, n in sorted(self.waypoints.items())},
            "ms_per_answer": round(median(self.total_ms), 1),
            "notes": dict(self.notes),
        }


def answer_bag(
    order: Order,
    load: Callable[[], Predictor],
    on_progress: Callable[[float], None] = lambda _: None,
) -> Summary:
    """Answers the order's questions about its recording and writes the new bag.

    load: opens the model, once the recording is known to be fit; on_progress: hears the share of
    the recording that is done. Raises BagError; then, as when interrupted, no new bag is left.
    """
    with Bag(order.source) as bag:
        topics = _choose(order, bag)
        summary = Summary(topics)
        place = new_bag(order.output, order.source, force=order.force)
        with place as writer, closing(load()) as predictor:
            for name, kind in outputs.KINDS.items():
                writer.announce(TOPICS[name], kind)
            _answer_all(order, bag, summary, writer, predictor, on_progress)
            if not summary.frames:
                raise BagError(f"{bag.path}: no readable image on {topics.image} in this part")
    return summary


def _choose(order: Order, bag: Bag) -> CameraTopics:
    """The camera's topics; what an earlier run wrote is no camera."""
    streams = {name: kind for name, kind in bag.streams.items() if name not in TOPICS.values()}
    return choose_topics(bag.path, streams, order.image, order.depth, order.camera_info)


def _answer_all(
    order: Order,
    bag: Bag,
    summary: Summary,
    writer: BagWriter,
    predictor: Predictor,
    on_progress: Callable[[float], None],
) -> None:
    """Goes through the recording once, copies it, and answers about the images that are due."""
    topics = summary.topics
    needed = {name for name in (topics.image, topics.depth, topics.camera_info) if name}
    if order.copies:
        needed |= _announce_copies(bag, writer, summary.notes)
    start_ns, end_ns = _span(order, bag)
    answerer = Answerer(order, predictor, writer, summary)
    moments = Moments(topics, order.every_s)
    for record in _records(bag, needed, start_ns, end_ns):
        if order.copies:
            writer.copy(record)
        for moment in moments.add(record):
            answerer.answer(moment)
            on_progress((record.time_ns - start_ns) / (end_ns - start_ns))
    for moment in moments.end():
        answerer.answer(moment)
    on_progress(1.0)
    for topic, times in moments.broken.items():
        summary.notes[f"a message on {topic} cannot be decoded: it is damaged"] += times


class Answerer:
    """Asks all questions about a moment, as the node would, and writes what it would publish."""

    def __init__(
        self, order: Order, predictor: Predictor, writer: BagWriter, summary: Summary
    ) -> None:
        self._prompts = order.prompts
        self._predictor = predictor
        self._writer = writer
        self._summary = summary
        self._parameters = Parameters(
            max_frame_age_s=0.0,  # any age: a recording is old
            frame_wait_s=0.0,
            slop_s=order.slop_s,
            rectified=order.rectified,
        )

    def answer(self, moment: Moment) -> None:
        self._summary.frames += 1
        complete = []
        for prompt in self._prompts:
            reply = self._ask(moment, prompt)
            self._summary.count(reply)
            answer = messages.answer(
                reply, math.nan, self._predictor.model_id, self._predictor.engine_id
            )
            for name, message in outputs.told(reply, answer):
                self._writer.write(TOPICS[name], moment.time_ns, message)
            if outputs.is_complete(reply):
                complete.append((reply, answer))
        if complete:  # questions of one moment share a picture
            replies, answers = zip(*complete, strict=True)
            markers, picture = outputs.draw_markers(answers), outputs.draw_picture(replies)
            self._writer.write(TOPICS["markers"], moment.time_ns, markers)
            self._writer.write(TOPICS["annotated"], moment.time_ns, picture)

    def _ask(self, moment: Moment, prompt: str) -> Reply:
        question = Question(
            request_id=uuid4().hex,
            prompt=prompt,
            timeout_s=math.inf,
            is_cancelled=lambda: False,
        )
        return asking.answer(
            question, self._predictor, moment.eyes, self._parameters, lambda reply: None
        )


def _span(order: Order, bag: Bag) -> tuple[int, int]:
    """The part of the recording that is asked about: first nanosecond, and behind the last."""
    start_ns = bag.start_ns + round(order.start_s * 1e9)
    end_s = min(order.end_s, 1e-9 * (bag.end_ns - bag.start_ns) + 1)
    end_ns = min(bag.start_ns + round(end_s * 1e9), bag.end_ns)
    if start_ns >= end_ns:
        raise BagError(
            f"{bag.path} takes {1e-9 * (bag.end_ns - bag.start_ns):.1f} s: nothing of it lies "
            f"between {order.start_s:g} and {order.end_s:g} s"
        )
    return start_ns, end_ns


def _announce_copies(bag: Bag, writer: BagWriter, notes: Counter[str]) -> set[str]:
    """Prepares all topics of the recording for copying; the names of those that can be."""
    copied = set()
    for one in bag.connections:
        if one.topic in TOPICS.values():
            notes[f"{one.topic} of the recording is replaced by the new answers"] += 1
            continue
        try:
            writer.announce_copy(one)
            copied.add(one.topic)
        except DefinitionError as error:
            notes[f"{one.topic} is not copied: {error}"] += 1
    return copied


def _records(bag: Bag, topics: set[str], start_ns: int, end_ns: int) -> Iterator[Record]:
    """The messages of a part, and at its start what late subscribers would still have got."""
    latched = {one.topic for one in bag.connections if one.topic in topics and _is_latched(one)}
    for record in bag.read(latched, end_ns=start_ns):
        yield replace(record, time_ns=start_ns)
    yield from bag.read(topics, start_ns, end_ns)


def _is_latched(connection: Connection) -> bool:
    """Whether a topic keeps its messages for late subscribers; not every bag says so."""
    return connection.topic == "/tf_static" or any(
        qos.durability == QosDurability.TRANSIENT_LOCAL
        for qos in connection.ext.offered_qos_profiles
    )
