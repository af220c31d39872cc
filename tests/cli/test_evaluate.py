"""`molmo eval`: figures as one JSON object, the same for the same seed; runs that go on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from tiny import save_checkpoint

from molmo_cli.models import open_model

pytest.importorskip("torch", reason="needs torch for a checkpoint")
pytest.importorskip("mujoco", reason="needs mujoco for the scenes")

CHECKPOINT = Path(__file__).parents[2] / "assets" / "molmo-tiny"
BUNDLE = CHECKPOINT / "bundle"


def test_figures_are_shares_and_depend_on_nothing_but_model_and_seed(molmo, tmp_path):
    save_checkpoint(tmp_path)
    arguments = ("eval", tmp_path, "scenes", "-n", 1, "--seed", 7, "--json")
    status, out, _ = molmo(*arguments)
    assert status == 0
    figures = json.loads(out)
    assert figures["n"] == 1
    for share in ("within5", "inside", "count", "none"):
        assert 0 <= figures[share] <= 1
    assert json.loads(molmo(*arguments)[1]) == figures
    assert list(figures) == ["within5", "inside", "count", "none", "n"]


def test_figures_are_also_printed_for_people(molmo, tmp_path):
    save_checkpoint(tmp_path)
    status, out, _ = molmo("eval", tmp_path, "scenes", "-n", 1)
    assert status == 0
    assert {"within5", "inside", "count", "none", "n"} <= {
        line.split()[0] for line in out.splitlines() if line.split()
    }
    assert "s per question" in out


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Pictures of simulated tables with points, counts and absent things, as a robot's own."""
    from molmo_training.tasks_scenes import SceneExamples

    folder = tmp_path_factory.mktemp("my-robot")
    lines = []
    for number, example in enumerate(SceneExamples(4, 7)):
        Image.fromarray(example.rgb()).save(folder / f"{number}.png")
        truth = (
            {"percent": example.points} if example.number is None else {"count": example.number}
        )
        lines.append({"image": f"{number}.png", "prompt": example.prompt, **truth})
    (folder / "data.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder


def test_a_robots_own_pictures_are_evaluated(molmo, recordings):
    status, out, _ = molmo("eval", BUNDLE, recordings, "--backend", "onnxruntime", "--json")
    assert status == 0
    figures = json.loads(out)
    assert figures["f1"] > 0.8 and figures["count"] > 0.5  # scenes that it was trained for
    assert figures["n"] == len((recordings / "data.jsonl").read_text().splitlines())
    for name in ("f1", "precision", "recall", "count", "count_close"):
        interval = figures["intervals"][name]
        assert interval["low"] <= figures[name] <= interval["high"]
    assert figures["seconds_per_example"] > 0


def test_a_run_that_was_killed_goes_on(molmo, recordings, tmp_path):
    file = tmp_path / "answers.jsonl"
    arguments = ("eval", BUNDLE, recordings, "--predictions", file, "--json")
    figures = json.loads(molmo(*arguments)[1])
    whole = file.read_bytes()
    before = whole[: whole.rfind(b"\n", 0, -1) - 5]  # within the line before the last
    file.write_bytes(before)
    again = json.loads(molmo(*arguments)[1])
    assert file.read_bytes().startswith(before[: before.rfind(b"\n")])
    for name in ("f1", "precision", "recall", "count", "n"):
        assert again[name] == figures[name]
    answers = [json.loads(line) for line in file.read_text().splitlines()]
    ids = [answer["id"] for answer in answers[1:]]
    assert len(ids) == len(set(ids)) == figures["n"]


def test_what_an_engine_costs_is_one_command(molmo):
    arguments = ("eval", BUNDLE, "scenes", "-n", 2, "--seed", 7, "--compare", CHECKPOINT)
    status, out, _ = molmo(*arguments, "--json")
    assert status == 0
    figures = json.loads(out)
    assert figures["model"] == figures["other"]  # the engine writes what torch writes
    assert figures["difference"]["count"]["mean"] == 0
    assert figures["difference"]["count"]["low"] < 0 < figures["difference"]["count"]["high"]
    status, out, _ = molmo(*arguments)
    assert status == 0
    assert out.count("within5") == 3


def test_another_machines_answers_are_compared_without_its_model(molmo, recordings, tmp_path):
    file = tmp_path / "answers.jsonl"
    molmo("eval", BUNDLE, recordings, "--predictions", file)
    save_checkpoint(tmp_path / "other")
    status, out, _ = molmo(
        "eval", tmp_path / "other", recordings, "-n", 2, "--compare", file, "--json"
    )
    assert status == 0
    figures = json.loads(out)
    assert figures["difference"]["f1"]["mean"] == figures["model"]["f1"] - figures["other"]["f1"]
    status, _, err = molmo("eval", BUNDLE, "scenes", "-n", 1, "--compare", file)
    assert status == 1
    assert "its task is" in err


def test_answers_of_another_engine_are_not_mixed(molmo, recordings, tmp_path):
    file = tmp_path / "answers.jsonl"
    molmo("eval", BUNDLE, recordings, "-n", 1, "--predictions", file)
    status, _, err = molmo("eval", CHECKPOINT, recordings, "-n", 1, "--predictions", file)
    assert status == 1
    assert "holds the answers of another run" in err


def test_a_published_benchmark_runs_from_a_local_copy(molmo, recordings, tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets", reason="needs datasets for the tables")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    rows = [
        {"image": {"bytes": (recordings / "0.png").read_bytes()}, "query": "Why?", "label": ["x"]},
        {"image": {"bytes": b"broken"}, "query": "Why?", "label": ["x"]},
    ]
    table = datasets.Dataset.from_list(rows).cast_column("image", datasets.Image(decode=False))
    table.to_parquet(str(tmp_path / "data" / "test-0.parquet"))
    status, out, _ = molmo("eval", BUNDLE, "chart_qa", "--data", tmp_path, "--json")
    assert status == 0
    figures = json.loads(out)
    assert (figures["relaxed_accuracy"], figures["n"], figures["unseen"]) == (0, 2, 1)


def test_without_the_hub_a_copy_is_asked_for():
    pytest.importorskip("datasets", reason="needs datasets for the tables")
    code = "from molmo_cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "eval", str(BUNDLE), "chart_qa"],
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "HuggingFaceM4/ChartQA: cannot be read from the hub" in done.stderr
    assert "--data DIR" in done.stderr


def test_a_checkpoint_looks_as_closely_as_published_scores_do(tmp_path):
    save_checkpoint(tmp_path)
    file = tmp_path / "config.json"
    several = json.loads(file.read_text()) | {"max_crops": 12}
    assert open_model(tmp_path, max_crops=36).config.crops.max_crops == 1
    file.write_text(json.dumps(several))
    assert open_model(tmp_path, max_crops=36).config.crops.max_crops == 36
    assert open_model(tmp_path, max_crops=12).config.crops.max_crops == 12


def test_a_task_that_is_none_is_refused(molmo):
    status, _, err = molmo("eval", BUNDLE, "imagenet")
    assert status == 2
    assert "no task has that name" in err
    assert "math_vista" in err


def test_a_checkpoint_has_no_choice_of_backends(molmo):
    status, _, err = molmo("eval", CHECKPOINT, "scenes", "--backend", "onnxruntime")
    assert status == 1
    assert "only bundles have backends" in err


def test_help_names_every_task(molmo):
    from molmo_training.tasks import TASKS

    words = (
        molmo("eval", "--help")[1].replace("│", " ").replace(",", " ").replace(".", " ").split()
    )
    assert set(TASKS) <= set(words)
