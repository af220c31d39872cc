"""What the node says of itself, once a second and to late subscribers."""

from __future__ import annotations

import sys
from types import ModuleType

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.qos import DurabilityPolicy, QoSProfile
from robot import bare_table

from molmo_ros import diagnostics
from molmo_ros.health import Finding, Level
from molmo_ros.msg import Answer, ModelInfo

NAMES = {"molmo: camera", "molmo: transforms", "molmo: answers", "molmo: engine"}


def newest(heard: list[DiagnosticArray], name: str) -> DiagnosticStatus | None:
    """What was last said about something."""
    said = [status for array in heard for status in array.status if status.name == name]
    return said[-1] if said else None


def values(status: DiagnosticStatus) -> dict[str, str]:
    return {item.key: item.value for item in status.values}


def test_a_camera_that_films_is_ok_and_one_that_stopped_is_an_error(host):
    heard = host.listen(DiagnosticArray, "/diagnostics")
    host.film(bare_table())
    host.until(lambda: is_level(heard, "molmo: camera", DiagnosticStatus.OK, "images"), "OK")
    assert float(values(newest(heard, "molmo: camera"))["image: rate (Hz)"]) > 5
    host.pause()
    host.until(lambda: is_level(heard, "molmo: camera", DiagnosticStatus.ERROR), "an error")
    assert "no image for" in newest(heard, "molmo: camera").message
    assert heard[-1].header.stamp.sec > 0


def is_level(heard, name: str, level: bytes, words: str = "") -> bool:
    status = newest(heard, name)
    return status is not None and status.level == level and words in status.message


def test_intrinsics_that_cannot_be_right_are_a_warning_with_the_numbers(host):
    heard = host.listen(DiagnosticArray, "/diagnostics")
    shot = bare_table()
    shot.k[0, 0] *= 3
    host.film(shot)
    host.until(lambda: is_level(heard, "molmo: camera", DiagnosticStatus.WARN, "fx"), "a warning")
    assert "fx 780 and fy 260" in newest(heard, "molmo: camera").message


def test_answers_and_engine_are_told(host):
    heard = host.listen(DiagnosticArray, "/diagnostics")
    host.film(bare_table())
    assert host.ask("Point to the objects.").status in (Answer.OK, Answer.NO_POINT)
    host.until(
        lambda: is_level(heard, "molmo: answers", DiagnosticStatus.OK, "answered"), "answers"
    )
    assert "total p95 (ms)" in values(newest(heard, "molmo: answers"))
    engine = newest(heard, "molmo: engine")
    assert "onnxruntime" in engine.message
    assert {
        status.name for array in heard for status in array.status if host_made(status)
    } == NAMES


def host_made(status: DiagnosticStatus) -> bool:
    return status.name.startswith("molmo: ") and status.hardware_id == "molmo_ros"


def test_the_model_is_told_to_those_who_come_late(host):
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    heard: list[ModelInfo] = []
    host.node.create_subscription(ModelInfo, "molmo/model_info", heard.append, latched)
    host.until(lambda: heard, "the model's name")
    assert heard[0].model
    assert "onnxruntime" in heard[0].engine
    assert (heard[0].cameras, heard[0].capacity > 0, heard[0].max_crops > 0) == ([""], True, True)


def test_with_diagnostic_updater_the_same_is_said(monkeypatch):
    """The package is not among the wheels: its interface stands in here."""
    told = {}

    class Status:
        def summary(self, level: bytes, message: str) -> None:
            told["summary"] = (level, message)

        def add(self, key: str, value: str) -> None:
            told[key] = value

    class Updater:
        def __init__(self, node, period_s: float) -> None:
            told["period_s"] = period_s

        def setHardwareID(self, name: str) -> None:  # noqa: N802 - its name there
            told["hardware_id"] = name

        def add(self, name: str, fill) -> None:
            told["name"] = name
            fill(Status())

    module = ModuleType("diagnostic_updater")
    module.Updater = Updater
    monkeypatch.setitem(sys.modules, "diagnostic_updater", module)
    monkeypatch.setattr(diagnostics, "find_spec", lambda name: module)
    finding = Finding(Level.WARN, "hot", {"degrees": "90"})
    diagnostics.publish_diagnostics(None, "molmo_ros", {"engine": lambda: finding})
    assert told == {
        "period_s": 1.0,
        "hardware_id": "molmo_ros",
        "name": "engine",
        "summary": (b"\x01", "hot"),
        "degrees": "90",
    }


def test_a_check_that_fails_is_a_finding():
    def broken() -> Finding:
        raise OSError("no /proc")

    finding = diagnostics._found(broken)
    assert finding.level is Level.ERROR
    assert "OSError: no /proc" in finding.message
