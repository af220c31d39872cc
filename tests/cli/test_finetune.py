"""From a recording to a bundle that learned from it: every command of docs/finetune.md.

A few steps on a few pictures: enough for a loss that falls, and not for a model that points.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

pytest.importorskip("rclpy", reason="no ROS 2 here")
pytest.importorskip("molmo_ros.msg", reason="the interfaces are not built")
pytest.importorskip("mujoco", reason="needs MuJoCo to render")
pytest.importorskip("tensorboard", reason="needs tensorboard for the losses")

from recordings import FIRST_NS, IMAGE, stamp, write_bag
from sensor_msgs.msg import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from molmo_ros.convert import fill_image
from molmo_training.scene_folder import write_scenes

SHIPPED = Path(__file__).parents[2] / "assets" / "molmo-tiny"
PICTURES, STEPS = 4, 8
QUICKLY = ("--steps", STEPS, "--batch", PICTURES)  # each step sees all of them


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A folder with a recording of pink things, and the labels of its images."""
    root = tmp_path_factory.mktemp("recorded")
    scenes = write_scenes(root / "scenes", "pink", [(9, i) for i in range(PICTURES)], "pink")
    film = []
    for number in range(PICTURES):
        image, time_ns = Image(), FIRST_NS + number * 100_000_000
        rgb = cv2.imread(str(scenes / "pink" / f"{number:04d}.png"))[:, :, ::-1]
        fill_image(image, rgb)
        film.append((IMAGE, time_ns, stamp(image, time_ns)))
    write_bag(root / "table", film)
    rows = [json.loads(line) for line in (scenes / "data.jsonl").read_text().splitlines()]
    lines = [json.dumps(row | {"frame": int(Path(row.pop("image")).stem)}) for row in rows]
    (root / "labels.jsonl").write_text("\n".join(lines))
    return root


def train(*arguments: object) -> None:
    """Runs `molmo train my-data` in a process of its own; threads would wait for busy cores."""
    code = "from molmo_cli.main import main; main()"
    command = [sys.executable, "-c", code, "train", "my-data", *map(str, arguments)]
    alone = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=alone)
    assert done.returncode == 0, done.stderr


def losses(run: Path) -> list[float]:
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    return [one.value for one in events.Scalars("loss")]


def test_a_recording_and_its_labels_become_a_bundle(molmo, recorded, tmp_path):
    bag, labels, run = recorded / "table", recorded / "labels.jsonl", tmp_path / "run"
    where = ("--from", SHIPPED, "--data", bag, "--labels", labels, "--output", run)
    train(*where, *QUICKLY, "--rate", 3e-3)
    first, *_, last = losses(run)
    assert last < 0.75 * first
    assert not list(run.glob(".pictures*"))
    molmo("frames", bag, tmp_path / "shelf", "--labels", labels)
    assert molmo("export", run / "last", tmp_path / "bundle", "--precision", "fp32")[0] == 0
    figures = [
        json.loads(molmo("eval", model, tmp_path / "shelf", "-n", 6, "--json")[1])
        for model in (run / "last", tmp_path / "bundle")
    ]
    for name in ("f1", "count", "n"):
        assert figures[0][name] == figures[1][name]


def test_adapters_learn_from_a_folder(molmo, recorded, tmp_path):
    scenes, run = recorded / "scenes", tmp_path / "run"
    where = ("--from", SHIPPED, "--data", scenes, "--output", run, "--eval", scenes)
    train(*where, *QUICKLY, "--lora", 8, "--rate", 2e-2)
    first, *_, last = losses(run)
    assert last < 0.75 * first
    assert (run / "best" / "adapter").is_dir()
    status, out, _ = molmo("eval", run / "best", scenes, "-n", 2, "--json")
    assert status == 0 and json.loads(out)["n"] == 2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"frame": 4, "label": "cup", "points": []}', "labels.jsonl, line 1: there is no frame"),
        ('{"frame": 0, "label": "cup", "points": [[1]]}', "labels.jsonl, line 1: points are a"),
        ('{"frame": 0, "prompt": "Where?", "points": [[1, 1]]}', "line 1: wanted a label beside"),
        ("", "labels.jsonl: is empty"),
    ],
)
def test_labels_that_nothing_can_be_learned_from_are_named(molmo, recorded, tmp_path, line, said):
    labels = tmp_path / "labels.jsonl"
    labels.write_text(line)
    where = ("--data", recorded / "table", "--labels", labels, "--output", tmp_path / "run")
    status, _, err = molmo("train", "my-data", "--from", SHIPPED, *where)
    assert status == 1
    assert said in err and len(err.splitlines()) == 1
    assert not (tmp_path / "run" / "last").exists()


def test_labels_want_their_bag(molmo, recorded, monkeypatch, tmp_path):
    labelled = ("train", "my-data", "--from", SHIPPED, "--labels", recorded / "labels.jsonl")
    status, _, err = molmo(*labelled, "--output", tmp_path)
    assert status == 1 and "labels of which bag?" in err
    status, _, err = molmo(*labelled, "--output", tmp_path, "--data", recorded / "none")
    assert status == 2
    wrong = ("--data", recorded / "table", "--image", "/gripper")
    status, _, err = molmo(*labelled, "--output", tmp_path, *wrong)
    assert status == 1 and "no image topic /gripper" in err
    monkeypatch.setenv("WORLD_SIZE", "2")
    status, _, err = molmo(*labelled, "--output", tmp_path, "--data", recorded / "table")
    assert status == 1 and "many processes cannot share a bag: molmo frames" in err
