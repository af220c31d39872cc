"""The program as a whole: help, misuse, and failures that end as one sentence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from molmo_cli import main as program

ROOT = Path(__file__).parents[2]
COMMANDS = (
    "demo",
    "ask",
    "doctor",
    "fetch",
    "export",
    "build",
    "verify",
    "collect",
    "frames",
    "train",
    "eval",
)
HEAVY = {"torch", "onnx", "onnxruntime", "tensorrt_rtx", "mujoco", "rclpy", "cv2", "numpy", "PIL"}


def test_help_is_printed_without_anything_heavy():
    code = "import sys, molmo_cli.main as m\ntry: m.main(['--help'])\nfinally: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for command in COMMANDS:
        assert f" {command} " in done.stdout
    assert HEAVY & set(done.stdout.split()) == set()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(molmo, command):
    status, out, _ = molmo(command, "--help")
    assert status == 0
    assert f"molmo {command}" in out.replace("Usage: molmo", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["paint"],
        ["ask"],
        ["ask", "no-such.png", "Where?"],
        ["ask", __file__, "Where?", "--bundle", "a", "--checkpoint", "b"],
        ["ask", __file__, "Where?", "--remote", "http://localhost/v1"],
        ["ask", __file__, "Where?", "--model", "molmo"],
        ["ask", __file__, "Where?", "--checkpoint", "a", "--backend", "onnxruntime"],
        ["ask", __file__, "Where?", "--backend", "abacus"],
        ["doctor", "--backend", "abacus"],
        ["verify"],
        ["eval", ".", "chess"],
        ["export", "no-such", "out"],
        ["export", ".", "out", "--precision", "fp7"],
        ["demo", "--bag", "no-such"],
        ["collect", "pixmo_points"],
        ["collect", "pixmo_docs_charts", "--store", "pictures"],
        ["collect", "no-such.txt", "--store", "pictures"],
        ["collect", "pixmo_cap", "--store", __file__],
    ],
)
def test_misuse_ends_with_status_2_and_a_hint(molmo, arguments):
    status, _, err = molmo(*arguments)
    assert status == 2
    assert "Usage: molmo" in err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["ask", __file__, "Where?"], f"{__file__}: no picture"),
        (["eval", str(ROOT / "docs"), "scenes"], "neither a bundle"),
        (["train", "giant"], "no recipe is called 'giant'; there are: "),
    ],
)
def test_a_failure_is_one_sentence_and_status_1(molmo, arguments, sentence):
    status, _, err = molmo(*arguments)
    assert status == 1
    assert err.startswith("molmo: ")
    assert sentence in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ModuleNotFoundError("no", name="onnx.helper"), "onnx: pip install 'molmo_ros[export]'"),
        (ModuleNotFoundError("no", name="sensor_msgs"), "needs ROS 2"),
        (ModuleNotFoundError("no", name="molmo_ros.msg"), "needs ROS 2"),
        (ImportError("this engine needs onnxruntime"), "this engine needs onnxruntime"),
    ],
)
def test_a_missing_package_names_what_to_install(molmo, monkeypatch, error, sentence):
    def fail(**_):
        raise error

    monkeypatch.setattr(program, "app", fail)
    status, _, err = molmo()
    assert status == 1
    assert sentence in err


@pytest.mark.parametrize("error", [ValueError("shapes"), ModuleNotFoundError("x", name="molmo_x")])
def test_a_bug_keeps_its_traceback(monkeypatch, error):
    def fail(**_):
        raise error

    monkeypatch.setattr(program, "app", fail)
    with pytest.raises(type(error)):
        program.main([])
