"""Which images of a recording are wanted, and what belongs to each of them."""

import itertools

import pytest
from rclpy.serialization import serialize_message
from recordings import DEPTH, FIRST_NS, IMAGE, INFO, kind_of, shot, stamp
from sensor_msgs.msg import CameraInfo, Image

from molmo_ros.bags import CameraTopics, Record
from molmo_ros.moments import DEPTHS, Moments
from molmo_ros.parameters import Parameters

MS = 1_000_000
ALL = CameraTopics(IMAGE, DEPTH, INFO)
LOOK = Parameters(max_frame_age_s=0.0, frame_wait_s=0.0)


def record(topic, time_ms, taken_ms=None, message=None):
    """A message, recorded and taken at times in milliseconds; its contents do not matter."""
    if message is None:
        message = CameraInfo() if topic == INFO else Image()
        stamp(message, FIRST_NS + MS * (time_ms if taken_ms is None else taken_ms))
    return Record(
        topic, kind_of(message), FIRST_NS + MS * time_ms, bytes(serialize_message(message))
    )


def frames(records, topics=ALL, every_s=0.0):
    """(recorded, taken, depth taken, has intrinsics) of the moments found, milliseconds."""
    moments = Moments(topics, every_s)
    found = [*itertools.chain.from_iterable(map(moments.add, records)), *moments.end()]
    return [_describe(moment) for moment in found]


def _describe(moment):
    frame = moment.eyes.look(LOOK, lambda: None)
    depth_ms = frame.depth and _ms(frame.depth.header.stamp)
    recorded_ms = (moment.time_ns - FIRST_NS) // MS
    taken_ms = _ms(frame.image.header.stamp)
    return recorded_ms, taken_ms, depth_ms, frame.camera_info is not None


def _ms(stamp):
    return (stamp.sec * 10**9 + stamp.nanosec - FIRST_NS) // MS


def images(*times_ms):
    return [record(IMAGE, time_ms) for time_ms in times_ms]


@pytest.mark.parametrize(
    ("every_s", "wanted"),
    [
        (0.0, [0, 190, 401, 600, 999, 1201, 4000]),
        (0.4, [0, 401, 999, 1201, 4000]),
        (1.0, [0, 1201, 4000]),
        (60.0, [0]),
    ],
)
def test_the_first_image_of_each_interval_is_wanted(every_s, wanted):
    film = images(0, 190, 401, 600, 999, 1201, 4000)
    assert [found[0] for found in frames(film, CameraTopics(IMAGE), every_s)] == wanted


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_what_belongs_together_is_found_in_any_order(order):
    first = [record(INFO, 0), record(IMAGE, 0), record(DEPTH, 0)]
    film = [first[place] for place in order] + [record(DEPTH, 33), *images(33), record(DEPTH, 66)]
    assert frames(film) == [(0, 0, 0, True), (33, 33, 33, True)]


def test_the_depth_nearest_in_time_counts_and_only_within_the_slop():
    depths = [record(DEPTH, taken) for taken in (80, 95, 108)]
    assert frames([record(INFO, 0), *depths, *images(100)]) == [(100, 100, 95, True)]
    far = [record(DEPTH, taken) for taken in (70, 130)]
    assert frames([record(INFO, 0), far[0], *images(100), far[1]]) == [(100, 100, None, True)]


def test_an_image_that_was_recorded_late_finds_its_depth():
    film = [record(INFO, 0), *(record(DEPTH, time) for time in range(0, 660, 33))]
    film.append(record(IMAGE, 661, taken_ms=33))
    assert frames(film) == [(661, 33, 33, True)]
    assert len(film) < DEPTHS


def test_depth_that_never_comes_is_not_waited_for_until_the_end():
    moments = Moments(ALL, 0.0)
    waiting = [list(moments.add(one)) for one in (record(INFO, 0), *images(0, 500, 1000, 1001))]
    assert [len(found) for found in waiting] == [0, 0, 0, 0, 1]
    assert len(list(moments.end())) == 3


def test_intrinsics_may_come_a_little_later():
    film = [record(DEPTH, 0), *images(0), record(DEPTH, 33), record(INFO, 40)]
    assert frames(film) == [(0, 0, 0, True)]


def test_what_carries_no_stamp_gets_no_depth():
    bare = [record(DEPTH, 0, message=Image()), record(IMAGE, 0, message=Image())]
    assert frames([*bare, record(DEPTH, 1)], CameraTopics(IMAGE, DEPTH))[0][2] is None
    film = [record(DEPTH, 0, message=Image()), *images(0)]
    assert frames(film, CameraTopics(IMAGE, DEPTH)) == [(0, 0, None, False)]


@pytest.mark.parametrize("length", [0, 3, 11, 40])
def test_damaged_messages_are_counted_and_cost_no_other_frame(length):
    good = [Record(topic, kind_of(message), time_ns, bytes(serialize_message(message)))
            for topic, time_ns, message in shot(0, FIRST_NS)]  # fmt: skip
    bad = [Record(one.topic, one.kind, one.time_ns + MS, one.cdr[:length]) for one in good]
    moments = Moments(ALL, 0.0)
    found = [*itertools.chain.from_iterable(map(moments.add, [*good, *bad])), *moments.end()]
    assert [moment.time_ns for moment in found] == [FIRST_NS]
    assert moments.broken[IMAGE] == 1
