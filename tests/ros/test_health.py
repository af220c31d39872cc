"""What the diagnostics say: each worry names its cause and what to do."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from molmo_ros.ending import Ending
from molmo_ros.health import (
    Level,
    judge_answers,
    judge_camera,
    judge_engine,
    judge_transforms,
    resident_mb,
)
from molmo_ros.statistics import CameraReport, StreamReport
from molmo_ros.tally import TallyReport


def stream(name: str, **changed: object) -> StreamReport:
    """A stream with nothing wrong about it."""
    healthy = StreamReport(
        name=name,
        topic=f"/wrist/{name}",
        type="sensor_msgs/msg/Image",
        publishers=1,
        received=90,
        dropped=3,
        rate_hz=30.0,
        longest_gap_s=0.04,
        silent_s=0.02,
        age_s=0.05,
        stamp_ns=1,
        complaint="",
    )
    return replace(healthy, **changed)


def camera(image=None, depth=None, info=None, offset_ms: float = 1.0) -> CameraReport:
    return CameraReport(
        camera="wrist",
        image=stream("image", **(image or {})),
        depth=stream("depth", **(depth or {})),
        camera_info=stream("camera_info", **(info or {})),
        offset_ms=offset_ms,
    )


def judge(report: CameraReport | None, doubts=()):
    return judge_camera(report, doubts, slop_s=0.02, max_age_s=1.0)


def test_a_healthy_camera_is_ok_and_its_numbers_are_told():
    finding = judge(camera())
    assert (finding.level, finding.message) == (Level.OK, "30.0 images a second")
    assert finding.values["image: rate (Hz)"] == "30"
    assert finding.values["image: not asked about"] == "3"
    assert finding.values["depth is later than image by (ms)"] == "1"


@pytest.mark.parametrize(
    ("report", "level", "words"),
    [
        (camera({"publishers": 0, "silent_s": 9.0}), Level.ERROR, "nobody publishes there"),
        (camera({"silent_s": 9.0}), Level.ERROR, "fastdds_big_shm.xml"),
        (camera({"silent_s": 9.0, "complaint": "QoS of /cam"}), Level.ERROR, "QoS of /cam"),
        (camera({"complaint": "a second one is not heard"}), Level.WARN, "a second one"),
        (camera({"stamp_ns": 0, "age_s": math.nan}), Level.WARN, "set header.stamp"),
        (camera({"age_s": 7.0}), Level.WARN, "use_sim_time"),
        (camera({"age_s": -7.0}), Level.WARN, "-7.00 s old"),
        (camera(depth={"silent_s": 9.0}), Level.WARN, "no depth for 9 s"),
        (camera(offset_ms=-80.0), Level.WARN, "raise slop_s"),
        (camera(info={"received": 0, "silent_s": 9.0}), Level.WARN, "no waypoints"),
    ],
)
def test_what_is_wrong_with_a_camera_is_told_with_what_to_do(report, level, words):
    finding = judge(report)
    assert finding.level is level
    assert words in finding.message


def test_a_camera_without_depth_and_with_intrinsics_sent_once_is_healthy():
    report = camera(
        depth={"publishers": 0, "received": 0, "silent_s": 99.0},
        info={"silent_s": 99.0},
        offset_ms=math.nan,
    )
    assert judge(report).level is Level.OK


def test_doubts_about_the_frame_are_warnings_and_nothing_is_said_while_nobody_listens():
    assert judge(camera(), ["fx and fy differ"]).message == "fx and fy differ"
    assert judge(None).level is Level.OK


def answers(**changed: object) -> TallyReport:
    report = TallyReport(
        ended={Ending.OK: 7, Ending.NO_POINT: 2, Ending.TIMEOUT: 1},
        total_ms=(120.0, 300.0),
        first_ms=(40.0, 90.0),
        complaint="",
        complaint_s=math.inf,
        answered_since=True,
    )
    return replace(report, **changed)


def test_answers_are_counted_and_their_times_told():
    finding = judge_answers(answers(), waiting=2)
    assert (finding.level, finding.message) == (Level.OK, "9 questions answered")
    assert finding.values["total p95 (ms)"] == "300"
    assert (finding.values["waiting"], finding.values["TIMEOUT"]) == ("2", "1")


@pytest.mark.parametrize(
    ("complaint", "level"),
    [("TIMEOUT: too slow", Level.WARN), ("ENGINE_ERROR: out of memory", Level.ERROR)],
)
def test_a_failure_is_told_until_something_is_answered(complaint, level):
    failed = answers(complaint=complaint, complaint_s=3.0, answered_since=False)
    finding = judge_answers(failed, waiting=0)
    assert finding.level is level
    assert complaint in finding.message
    assert judge_answers(replace(failed, answered_since=True), waiting=0).level is Level.OK


def test_transforms_that_are_missing_are_a_warning():
    assert judge_transforms("", []).level is Level.OK
    assert "'base_link'" in judge_transforms("base_link", []).message
    assert judge_transforms("base_link", ["no 'arm'"]).level is Level.WARN


def test_the_engine_is_named_with_the_memory_that_it_takes():
    finding = judge_engine("tiny", "onnxruntime", "/models/tiny")
    assert finding.message == "tiny on onnxruntime"
    assert float(finding.values["memory of this process (MB)"]) == pytest.approx(
        resident_mb(), rel=0.5
    )
    assert judge_engine("", "", "").message == "no model is loaded: the node is not configured"
