"""Runs that are killed, stopped, or out of disk: they go on, and end as if nothing had been."""

from __future__ import annotations

import json
import os
import random
import signal

import pytest
from homemade import write_my_data, write_small
from safetensors.torch import load_file
from small_runs import SAVE_EVERY, STEPS, Wish, running, told, train


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A checkpoint, data, and a run that nobody interrupts."""
    directory = tmp_path_factory.mktemp("runs")
    write_my_data(directory / "data", broken=2)
    write_small(directory / "start")
    assert train(Wish(root=directory, output="whole"))
    return directory


def files(root, output):
    """All tensors of the last checkpoint, as bytes, and its numbers."""
    last = root / output / "last"
    paths = sorted(last.rglob("*.safetensors"))
    tensors = {
        (path.name, name): tensor.numpy().tobytes()
        for path in paths
        for name, tensor in load_file(path).items()
    }
    return tensors, json.loads((last / "state" / "trainer.json").read_text())


def test_a_killed_run_replays_at_most_one_interval_and_ends_the_same(root):
    chance, wish, reached, kills = random.Random(7), Wish(root=root, output="killed"), -1, 0
    while True:
        with running(wish) as (process, pipe):
            first = pipe.recv().step
            assert reached + 1 - SAVE_EVERY <= first <= reached + 1
            reached = first
            if kills == 4:
                steps = told(pipe)
                process.join()
                break
            for _ in range(chance.randrange(SAVE_EVERY + 1)):
                if reached < STEPS - 1:
                    reached = pipe.recv().step
            process.join(chance.random() * 0.05)  # into the next step, or its checkpoint
            os.kill(process.pid, signal.SIGKILL)
            reached = max([reached, *(report.step for report in told(pipe))])
            kills += 1
    assert process.exitcode == 0
    assert [report.step for report in steps] == list(range(first + 1, STEPS))
    assert files(root, "killed") == files(root, "whole")


def test_sigterm_saves_and_the_run_goes_on_later(root):
    wish = Wish(root=root, output="stopped")
    with running(wish) as (process, pipe):
        pipe.recv()
        os.kill(process.pid, signal.SIGTERM)
        done = 1 + len(told(pipe))
        process.join()
        assert process.exitcode == 0
    assert done < STEPS
    assert files(root, "stopped")[1]["step"] == done
    assert train(wish)
    assert files(root, "stopped") == files(root, "whole")


def test_a_full_disk_does_not_end_the_run(root, caplog):
    wish = Wish(root=root, output="full", full=range(4, 10), waits=True)
    with running(wish) as (process, pipe):
        kept, last = {}, root / "full" / "last"
        for step in range(STEPS):
            assert pipe.recv().step == step
            kept[step] = last.readlink().name if last.exists() else ""
            pipe.send("go on")
        process.join()
        assert process.exitcode == 0
    assert {kept[step] for step in range(4, 10)} == {"step-0000003"}
    assert files(root, "full") == files(root, "whole")


def test_a_run_that_cannot_save_its_end_says_so(root):
    wish = Wish(root=root, output="hopeless", full=range(4, STEPS))
    with running(wish) as (process, pipe):
        told(pipe)
        process.join()
        assert process.exitcode == 1
    assert (root / "hopeless" / "last").readlink().name == "step-0000003"


def test_pictures_that_cannot_be_read_are_counted(root):
    assert files(root, "whole")[1]["skipped"] > 0


def test_a_run_with_adapters_ends_the_same(root):
    assert train(Wish(root=root, output="adapted", lora=4))
    wish = Wish(root=root, output="killed-adapted", lora=4)
    with running(wish) as (process, pipe):
        for _ in range(5):
            pipe.recv()
        os.kill(process.pid, signal.SIGKILL)
    assert train(wish)
    assert files(root, "killed-adapted") == files(root, "adapted")
