"""The demo's processes: none may outlive it, and a dead one must be told from a slow one."""

import os
import signal
import subprocess
import sys
import time

import pytest

from molmo_ros.cell.children import ChildError, Children

PATIENCE_S = 20.0
TALKER = "import sys, time; print(*sys.argv[1:], flush=True); time.sleep(600)"


def module(folder, monkeypatch, name, code):
    """A program that `python -m` finds."""
    (folder / f"{name}.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    return name


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_node_that_ends_is_reported_with_its_last_words(tmp_path, monkeypatch):
    name = module(tmp_path, monkeypatch, "broken", "import sys; sys.exit('no lens mounted')")

    with pytest.raises(ChildError) as raised, Children("/test", tmp_path) as children:
        children.start(name, parameters={})
        time.sleep(PATIENCE_S)  # as any wait in the main thread: it is interrupted
    assert "broken ended with status 1" in str(raised.value) and "no lens" in str(raised.value)


def test_nodes_get_their_namespace_parameters_and_remappings(tmp_path, monkeypatch):
    name = module(tmp_path, monkeypatch, "talker", TALKER)
    with Children("/test", tmp_path) as children:
        children.start(name, parameters={"seed": 3, "live": True}, remaps={"image": "cam/image"})
        wait_until(lambda: (tmp_path / "talker.log").read_text().count("\n"))
    given = "--ros-args -r __ns:=/test -p seed:=3 -p live:=true -r image:=cam/image"
    assert (tmp_path / "talker.log").read_text().strip() == given


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_no_node_outlives_a_demo_that_is_told_to_end(tmp_path, monkeypatch, sent):
    name = module(
        tmp_path,
        monkeypatch,
        "sleeper",
        "import os, time; print(os.getpid(), flush=True); time.sleep(600)",
    )
    program = (
        "import time; from pathlib import Path; from molmo_ros.cell.children import Children\n"
        f"with Children('/test', Path({str(tmp_path)!r})) as children:\n"
        f"    children.start({name!r}, parameters={{}})\n"
        "    time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], start_new_session=True)
    log = tmp_path / "sleeper.log"
    wait_until(lambda: log.exists() and log.read_text().strip())
    child = int(log.read_text())
    parent.send_signal(sent)
    assert parent.wait(PATIENCE_S) != 0
    assert not is_alive(child)
