"""`molmo doctor`: what it finds on this machine, and on machines that are files in a folder."""

from __future__ import annotations

import json
import shutil

import pytest

from molmo_cli.doctor_engine import look_at_engine
from molmo_cli.doctor_machine import look_at_machine
from molmo_cli.doctor_software import look_at_ros
from molmo_cli.models import Backend, shipped_bundle
from molmo_engine.backends import BACKENDS
from molmo_engine.bundle import MANIFEST, Plan
from molmo_engine.plans import add_plans

TEGRA = "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n"
DRIVER = "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  540.4.0  Release Build\n"


def write(root, name, text):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def by_topic(findings):
    return {finding.topic: finding for finding in findings}


@pytest.fixture
def copy(tmp_path):
    return shutil.copytree(shipped_bundle(), tmp_path / "bundle")


@pytest.fixture
def ros(monkeypatch):
    """ROS 2 as if everything of it were there."""
    monkeypatch.setattr("molmo_cli.doctor_software._is_there", lambda _: True)
    return lambda **environment: by_topic(look_at_ros(environment))


def test_this_machine_can_answer(molmo):
    pytest.importorskip("onnxruntime", reason="needs onnxruntime to compute")
    status, out, _ = molmo("doctor", "--json")
    report = json.loads(out)
    assert status == 0 and report["ok"]
    topics = {finding["topic"]: finding for finding in report["findings"]}
    assert set(BACKENDS) | {"Python", "memory", "bundle", "answers", "room"} <= set(topics)
    assert "molmo-tiny" in topics["bundle"]["found"]


def test_words_say_what_json_says(molmo):
    _, out, _ = molmo("doctor", "--json")
    status, words, _ = molmo("doctor")
    assert status == 0
    for finding in json.loads(out)["findings"]:
        assert f"{finding['topic']:16}" in words


def test_a_backend_that_was_asked_for_and_cannot_run_fails(molmo):
    status, out, _ = molmo("doctor", "--backend", "tensorrt", "--json")
    findings = [one for one in json.loads(out)["findings"] if one["fails"]]
    assert status == 1
    assert [one["topic"] for one in findings] == ["tensorrt", "answers"]
    assert findings[0]["advice"]


def test_the_command_line_offers_the_backends_that_there_are():
    assert {backend.value for backend in Backend} == {"auto", *BACKENDS}


def test_a_damaged_bundle_fails_with_its_repair(molmo, copy):
    (copy / "tokenizer.json").write_bytes(b"{}")
    status, out, _ = molmo("doctor", copy)
    assert status == 1
    assert "FAILS bundle" in out
    assert f"-> {copy / 'tokenizer.json'}: is damaged" in out


def test_a_bundle_without_tokenizer_or_record_says_what_is_missing(copy):
    manifest = json.loads((copy / MANIFEST).read_text())
    for name in ("tokenizer.json", "reference.png", "reference.safetensors"):
        manifest["files"].pop(name, None)
    (copy / MANIFEST).write_text(json.dumps(manifest))
    findings = by_topic(look_at_engine(copy, "auto"))
    assert findings["tokenizer"].fails
    assert "molmo export" in findings["self-check"].advice


def test_plans_are_listed_and_a_damaged_one_is_to_be_built_again(copy):
    plan = Plan(
        file="plans/SM87/decoder.plan",
        part="decoder",
        dialect="compat",
        builder="tensorrt 10.3.0",
        architecture="SM87",
        weights="external",
    )
    write(copy, plan.file, "compiled")
    add_plans(copy, [plan])
    found = by_topic(look_at_engine(copy, "auto"))["plan"]
    assert found.found == "decoder for SM87 by tensorrt 10.3.0, external weights"
    assert not found.advice
    write(copy, plan.file, "compile")
    assert f"molmo build {copy}" in by_topic(look_at_engine(copy, "auto"))["plan"].advice


def test_a_model_too_large_for_the_memory_fails(copy, monkeypatch):
    monkeypatch.setattr("molmo_engine.trt_device.available_bytes", lambda: 10_000_000)
    found = by_topic(look_at_engine(copy, "onnxruntime"))["room"]
    assert found.fails
    assert "0.01 GB are free" in found.found
    assert "int4" in found.advice


def test_a_jetson_is_recognised(tmp_path):
    write(tmp_path, "etc/nv_tegra_release", TEGRA)
    write(tmp_path, "proc/driver/nvidia/version", DRIVER)
    write(tmp_path, "proc/cpuinfo", "processor : 0\nmodel name : ARMv8 Processor rev 1 (v8l)\n")
    write(tmp_path, "proc/meminfo", "MemTotal: 8000000 kB\nMemAvailable: 2000000 kB\n")
    findings = by_topic(look_at_machine(tmp_path))
    assert findings["JetPack"].found == "JetPack 6 (Jetson Linux 36.4.3)"
    assert not findings["JetPack"].advice
    assert findings["memory"].found == "2.0 of 8.2 GB free, 0.0 GB of swap"
    assert findings["processor"].found.startswith("ARMv8 Processor rev 1 (v8l), ")


@pytest.mark.parametrize(
    ("text", "found", "advice"),
    [
        (TEGRA.replace("R36", "R35"), "JetPack 5 (Jetson Linux 35.4.3)", "flash JetPack 6"),
        (TEGRA.replace("R36", "R99"), "Jetson Linux 99.4.3, which this version", ""),
        ("hello", "unknown: ", ""),
    ],
)
def test_another_jetpack_is_named_and_an_old_one_replaced(tmp_path, text, found, advice):
    write(tmp_path, "etc/nv_tegra_release", text)
    finding = by_topic(look_at_machine(tmp_path))["JetPack"]
    assert finding.found.startswith(found)
    assert finding.advice.startswith(advice) and bool(finding.advice) == bool(advice)


def test_a_machine_that_tells_nothing_is_no_failure(tmp_path):
    findings = look_at_machine(tmp_path)
    assert "JetPack" not in by_topic(findings)
    assert not any(finding.fails for finding in findings)


def test_fast_dds_without_a_profile_is_advised(ros, tmp_path):
    found = ros(ROS_DISTRO="jazzy")
    assert found["ROS 2"].found == "jazzy, domain 0"
    assert "fastdds_big_shm.xml" in found["DDS"].advice
    write(tmp_path, "profile.xml", "<profiles/>")
    for name in ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"):
        assert not ros(**{name: str(tmp_path / "profile.xml")})["DDS"].advice
        assert "does not exist" in ros(**{name: str(tmp_path / "none.xml")})["DDS"].found


def test_another_middleware_needs_no_profile(ros):
    found = ros(RMW_IMPLEMENTATION="rmw_cyclonedds_cpp", ROS_DOMAIN_ID="7")
    assert found["DDS"].found == "rmw_cyclonedds_cpp"
    assert not found["DDS"].advice
    assert found["ROS 2"].found.endswith("domain 7")


@pytest.mark.parametrize(
    ("missing", "advice"), [("rclpy", "source your ROS 2"), ("molmo_ros.msg", "build molmo_ros")]
)
def test_what_is_missing_of_ros_says_what_to_do_and_fails_nothing(monkeypatch, missing, advice):
    monkeypatch.setattr("molmo_cli.doctor_software._is_there", lambda name: name != missing)
    (found,) = look_at_ros({})
    assert advice in found.advice
    assert not found.fails
