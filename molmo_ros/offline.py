"""Answers about a recorded camera, without nodes: a bag in, a bag with the answers out.

What answers is what answers on the robot (asking.py, eyes.py), and what goes out is what the node
publishes (outputs.py), at the time at which the image was recorded.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from rosbags.interfaces import Connection, QosDurability

from molmo_engine.predictor import Predictor
from molmo_ros.answerer import TOPICS, Answerer, Summary
from molmo_ros.bag_writer import BagWriter, new_bag
from molmo_ros.bags import Bag, BagError, CameraTopics, Record, choose_topics
from molmo_ros.definitions import DefinitionError
from molmo_ros.moments import Moment, Moments
from molmo_ros.parameters import Parameters
from molmo_ros.recorded_transforms import RecordedTransforms


@dataclass(frozen=True, kw_only=True)
class Order:
    """What to ask about which recording, and where the answers go.

    image, depth, camera_info: topics; found by themselves where only one could be meant
    every_s:      seconds of recording from one question to the next; 0 asks about every image
    start_s, end_s: the part of the recording, in seconds since its first message
    settings:     those of the node's parameters that say how a question is answered
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
    settings: Parameters = Parameters()
    copies: bool = True
    force: bool = False


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
        span = _span(order, bag)
        summary, transforms = Summary(topics), RecordedTransforms(bag)
        place = new_bag(order.output, order.source, force=order.force)
        with place as writer, closing(load()) as predictor:
            answerer = Answerer(predictor, order.settings, transforms, writer, summary)
            if order.copies:
                _announce_copies(bag, writer, summary.notes)
            moments = Moments(topics, order.every_s)
            for moment, share in _go_through(bag, span, writer, moments):
                answerer.answer(moment, order.prompts)
                on_progress(share)
            on_progress(1.0)
            if not summary.frames:
                raise BagError(f"{bag.path}: no readable image on {topics.image} in this part")
    for topic, times in (moments.broken + transforms.broken).items():
        summary.notes[f"what came on {topic} is damaged"] += times
    return summary


def _choose(order: Order, bag: Bag) -> CameraTopics:
    """The camera's topics; what an earlier run wrote is no camera."""
    streams = {name: kind for name, kind in bag.streams.items() if name not in TOPICS.values()}
    return choose_topics(bag.path, streams, order.image, order.depth, order.camera_info)


def _go_through(
    bag: Bag, span: tuple[int, int], writer: BagWriter, moments: Moments
) -> Iterator[tuple[Moment, float]]:
    """Copies what was announced, and yields the moments with the share of the way until there."""
    start_ns, end_ns = span
    for record in _records(bag, writer.copied | moments.topics, start_ns, end_ns):
        writer.copy(record)
        for moment in moments.add(record):
            yield moment, (record.time_ns - start_ns) / (end_ns - start_ns)
    for moment in moments.end():
        yield moment, 1.0


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


def _announce_copies(bag: Bag, writer: BagWriter, notes: Counter[str]) -> None:
    """Prepares the topics of the recording for copying; what cannot be copied becomes a note."""
    for one in bag.connections:
        if one.topic in TOPICS.values():
            notes[f"{one.topic} of the recording is replaced by the new answers"] += 1
            continue
        try:
            writer.announce_copy(one)
        except DefinitionError as error:
            notes[f"{one.topic} is not copied: {error}"] += 1


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
