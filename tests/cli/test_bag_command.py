"""`molmo bag` as it is called: what it prints, how it ends, and what it leaves behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from array import array

import pytest

pytest.importorskip("rclpy", reason="no ROS 2 here")
pytest.importorskip("molmo_ros.msg", reason="the interfaces are not built")

from recordings import FIRST_NS, IMAGE, read_bag, shot, stamp, write_bag
from sensor_msgs.msg import Image

from molmo_ros.msg import Answer

RUN = "from molmo_cli.main import main; main()"
PATIENCE_S = 60.0  # for a process to start on a loaded machine


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A recording of one simulated table."""
    return write_bag(tmp_path_factory.mktemp("recorded") / "table", shot(37, FIRST_NS))


def grey(count: int):
    """Many small pictures of nothing, a second apart."""
    for number in range(count):
        time_ns = FIRST_NS + number * 1_000_000_000
        image = Image(height=24, width=32, step=32, encoding="mono8")
        image.data = array("B", bytes(24 * 32))
        yield IMAGE, time_ns, stamp(image, time_ns)


def test_a_recording_becomes_a_bag_and_a_table(molmo, table, tmp_path):
    status, out, _ = molmo("bag", table, tmp_path / "new", "--prompt", "Point to the red cube.")
    assert status == 0
    rows = dict(line.split(maxsplit=1) for line in out.splitlines() if len(line.split()) == 2)
    assert (rows["frames"], rows["OK"], rows["errors"]) == ("1", "1", "0")
    assert "waypoints      1 OK" in out and f"written: {tmp_path / 'new'}" in out
    ((_, answer),) = read_bag(tmp_path / "new")["/molmo/answer"]
    assert [waypoint.label for waypoint in answer.waypoints] == ["red cube"]


def test_json_is_one_object(molmo, table, tmp_path):
    new = tmp_path / "new.mcap"
    prompts = ("--prompt", "Point to the red cube.", "--prompt", "Point to the red dog.")
    status, out, _ = molmo("bag", table, new, *prompts, "--json", "--no-copy")
    assert status == 0
    figures = json.loads(out)
    assert (figures["frames"], figures["answers"], figures["errors"]) == (1, 2, 0)
    assert figures["out"] == str(new) and figures["topics"]["image"] == IMAGE
    assert IMAGE not in read_bag(new)


@pytest.mark.parametrize(
    "wrong",
    [[], ["--prompt", "Where?", "--every", "-1"], ["--prompt", "Where?", "--backend", "x"]],
)
def test_misuse_ends_with_2(molmo, table, tmp_path, wrong):
    assert molmo("bag", table, tmp_path / "new", *wrong)[0] == 2
    assert not any(tmp_path.iterdir())


def test_a_recording_that_is_not_there_is_misuse(molmo, tmp_path):
    assert molmo("bag", tmp_path / "none", tmp_path / "new", "--prompt", "Where?")[0] == 2


def test_what_cannot_be_done_ends_with_1_and_one_sentence(molmo, table, tmp_path):
    ask = ("--prompt", "Where?")
    complaints = {
        "not a readable ROS 2 bag": (tmp_path, tmp_path / "new"),
        "--force": (table, tmp_path),
        "no depth topic /other": (table, tmp_path / "new", "--depth", "/other"),
    }
    for words, arguments in complaints.items():
        status, out, err = molmo("bag", *arguments, *ask)
        assert (status, out) == (1, "")
        assert words in err.splitlines()[-1] and err.splitlines()[-1].startswith("molmo: ")
    assert not any(tmp_path.iterdir())


def test_a_run_without_a_single_answer_fails_but_says_why_in_its_bag(molmo, table, tmp_path):
    status, out, _ = molmo("bag", table, tmp_path / "new", "--prompt", "")
    assert status == 1
    assert "1 x BAD_PROMPT" in out
    ((_, answer),) = read_bag(tmp_path / "new")["/molmo/answer"]
    assert answer.status == Answer.BAD_PROMPT


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing(tmp_path, sent):
    bag = write_bag(tmp_path / "long", list(grey(2000)))
    command = ["bag", str(bag), str(tmp_path / "new"), "--prompt", "Describe the table."]
    process = subprocess.Popen([sys.executable, "-c", RUN, *command], stderr=subprocess.PIPE)
    give_up_s = time.monotonic() + PATIENCE_S
    while not list(tmp_path.glob(".new.*/new/*.mcap")) and time.monotonic() < give_up_s:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(sent)
    assert process.wait(PATIENCE_S) not in (0, -sent)
    assert [path.name for path in tmp_path.iterdir()] == ["long"]
