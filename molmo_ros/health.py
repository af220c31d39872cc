"""Judges how the node is doing: each finding has a cause and a remedy in words.

Pure functions over reports; they publish nothing and measure nothing.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from molmo_ros.ending import Ending
from molmo_ros.statistics import CameraReport, StreamReport
from molmo_ros.tally import TallyReport

SILENT_S = 2.0  # a stream that has not been heard for so long has stopped
SCARCE = 0.05  # share of the machine's memory below which the next allocation may fail


class Level(IntEnum):
    """The levels of diagnostic_msgs/DiagnosticStatus."""

    OK = 0
    WARN = 1
    ERROR = 2


@dataclass(frozen=True)
class Finding:
    """One line of a diagnosis, and the numbers behind it."""

    level: Level
    message: str
    values: dict[str, str] = field(default_factory=dict)


def judge_camera(
    report: CameraReport | None, complaints: Sequence[str], slop_s: float, max_age_s: float
) -> Finding:
    """How the inputs of one camera are doing.

    report: None while nothing listens; complaints: about its intrinsics and frames
    """
    if report is None:
        return Finding(Level.OK, "not listening: the node is not active")
    values = _stream_values(report.image) | _stream_values(report.depth)
    values |= _stream_values(report.camera_info)
    values["depth is later than image by (ms)"] = _number(report.offset_ms)
    if trouble := _silence(report.image):
        return Finding(Level.ERROR, trouble, values)
    worries = [
        *_image_worries(report.image, max_age_s),
        *_depth_worries(report, slop_s),
        *_info_worries(report.camera_info),
        *complaints,
    ]
    level = Level.WARN if worries else Level.OK
    return Finding(
        level, "; ".join(worries) or f"{report.image.rate_hz:.1f} images a second", values
    )


def judge_transforms(target_frame: str, notes: Sequence[str]) -> Finding:
    """Whether waypoints can be brought to the target frame. notes: what is not known of it."""
    values = {"target_frame": target_frame}
    if notes:
        return Finding(Level.WARN, "; ".join(notes), values)
    if not target_frame:
        return Finding(Level.OK, "waypoints stay in the frame of their image", values)
    return Finding(Level.OK, f"waypoints go to '{target_frame}'", values)


def judge_answers(report: TallyReport, waiting: int) -> Finding:
    """How questions have been answered. waiting: how many stand in line now."""
    values = {
        "waiting": str(waiting),
        "total p50 (ms)": _number(report.total_ms[0]),
        "total p95 (ms)": _number(report.total_ms[1]),
        "first waypoint p50 (ms)": _number(report.first_ms[0]),
        "first waypoint p95 (ms)": _number(report.first_ms[1]),
    }
    values |= {ending.name: str(count) for ending, count in sorted(report.ended.items())}
    if not report.complaint or report.answered_since:
        answered = report.ended.get(Ending.OK, 0) + report.ended.get(Ending.NO_POINT, 0)
        return Finding(Level.OK, f"{answered} questions answered", values)
    is_engine = report.complaint.startswith(Ending.ENGINE_ERROR.name)
    ago = f"{report.complaint_s:.0f} s ago, and nothing was answered since"
    return Finding(Level.ERROR if is_engine else Level.WARN, f"{report.complaint} ({ago})", values)


def judge_engine(model: str, engine: str, bundle: str) -> Finding:
    """What answers, and whether it has the memory to. model: empty when nothing is loaded."""
    free_mb, total_mb = available_mb()
    values = {
        "model": model,
        "engine": engine,
        "bundle": bundle,
        "memory of this process (MB)": f"{resident_mb():.0f}",
        "memory available (MB)": f"{free_mb:.0f}",
    }
    if not model:
        return Finding(Level.OK, "no model is loaded: the node is not configured", values)
    if free_mb < SCARCE * total_mb:
        return Finding(
            Level.WARN,
            f"{free_mb:.0f} MB of {total_mb:.0f} MB are left: end other programs, or use a "
            "smaller bundle (INT4, lower capacity)",
            values,
        )
    return Finding(Level.OK, f"{model} on {engine}", values)


def resident_mb() -> float:
    """Memory that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def available_mb() -> tuple[float, float]:
    """Memory of the machine that can be had without swapping, and all of it."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    return kilobytes["MemAvailable"] / 1e3, kilobytes["MemTotal"] / 1e3


def _silence(stream: StreamReport) -> str:
    """Why nothing comes on a topic, and what to do; empty when something does."""
    if stream.silent_s < SILENT_S:
        return ""
    silent = f"no {stream.name} for {stream.silent_s:.0f} s on {stream.topic}"
    if stream.complaint:
        return f"{silent}: {stream.complaint}"
    if not stream.publishers:
        return f"{silent}: nobody publishes there. Start the camera, or remap `{stream.name}`"
    return (
        f"{silent}, though it has {stream.publishers} publisher(s): the camera stands still, or "
        "its images are too large for the middleware's shared memory "
        "(FASTRTPS_DEFAULT_PROFILES_FILE=config/fastdds_big_shm.xml, or compressed images)"
    )


def _image_worries(image: StreamReport, max_age_s: float) -> list[str]:
    if image.complaint:
        return [image.complaint]
    if image.is_unstamped:
        return ["images carry no stamp: let the driver set header.stamp"]
    if max_age_s and not abs(image.age_s) <= max_age_s:
        return [
            f"the newest image is {image.age_s:.2f} s old, max_frame_age_s is {max_age_s:g}: "
            "check the clocks, and use_sim_time with a simulation or a recording"
        ]
    return []


def _depth_worries(report: CameraReport, slop_s: float) -> list[str]:
    """Nobody need publish depth; who does must be heard, and in step with the images."""
    if not report.depth.publishers:
        return []
    if trouble := _silence(report.depth):
        return [trouble]
    if abs(report.offset_ms) > 1e3 * slop_s:
        return [
            f"depth is stamped {report.offset_ms:.1f} ms later than its image, slop_s allows "
            f"{1e3 * slop_s:g} ms: raise slop_s, or let the driver synchronise both"
        ]
    return []


def _info_worries(info: StreamReport) -> list[str]:
    """Intrinsics may be sent once and for all: only those that never came are missed."""
    if info.received:
        return []
    trouble = _silence(info)
    return [f"{trouble}: there will be no waypoints"] if trouble else []


def _stream_values(stream: StreamReport) -> dict[str, str]:
    name = stream.name
    return {
        f"{name}: topic": stream.topic,
        f"{name}: rate (Hz)": _number(stream.rate_hz),
        f"{name}: age (s)": _number(stream.age_s),
        f"{name}: longest gap (s)": _number(stream.longest_gap_s),
        f"{name}: received": str(stream.received),
        f"{name}: not asked about": str(stream.dropped),
    }


def _number(value: float) -> str:
    return "unknown" if math.isnan(value) else f"{value:.3g}"
