"""Runs from the command line to the checkpoint: what is prepared, shown, judged and kept."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from homemade import small_recipe, write_my_data, write_small
from published import write_parquet
from web import Web, picture

from molmo_cli.main import main
from molmo_model.presets import PRESETS
from molmo_model.weights import empty_model, load_model, published_name
from molmo_training.distributed import Worker
from molmo_training.judge import SAID_COLOUR, TRUE_COLOUR, with_points
from molmo_training.learner import PackedLearner
from molmo_training.lora import merged_weights
from molmo_training.recipes import captions, my_data, sft
from molmo_training.runs import Options, adjusted, prepared, run
from molmo_training.tasks_example import EvalExample

QUESTIONS = [
    {"image": "0.png", "label": "cube", "percent": [[30.0, 40.0]]},
    {"image": "1.png", "prompt": "Which?", "answer": "one"},
]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    directory = tmp_path_factory.mktemp("whole")
    data = write_my_data(directory / "data")
    (data / "judged.jsonl").write_text("".join(json.dumps(line) + "\n" for line in QUESTIONS))
    write_small(directory / "start")
    return directory


@pytest.fixture(scope="module")
def judged(root):
    """A run that is judged every other step."""
    recipe = small_recipe(6, save_every=100, judge_every=2)
    task = str(root / "data" / "judged.jsonl")
    where = {"start": root / "start", "data": root / "data", "output": root / "judged"}
    assert run(recipe, Options(**where, task=task, loaders=0))
    return root / "judged"


@pytest.fixture(scope="module")
def board(judged):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(judged / "tensorboard"))
    accumulator.Reload()
    return accumulator


def test_curves_are_kept(board):
    tags = board.Tags()["scalars"]
    assert {"loss", "norm/vit", "rate/connector", "speed/tokens_per_s", "skipped"} <= set(tags)
    assert [event.step for event in board.Scalars("loss")] == list(range(6))
    assert [event.value for event in board.Scalars("rate/vit")][:3] == pytest.approx(
        [0, 1e-3 / 3, 2e-3 / 3]
    )
    assert "mfu" not in {tag.rpartition("/")[2] for tag in tags}


def test_samples_are_kept(board):
    assert [event.step for event in board.Images("sample/0")] == [2, 4, 6]
    assert (board.Images("sample/0")[0].width, board.Images("sample/0")[0].height) == (80, 60)
    text = board.Tensors("sample/1/text_summary")[0].tensor_proto.string_val[0].decode()
    assert text.startswith("Which? **")


def test_the_best_and_the_last_are_kept(judged, board):
    scores = [event.value for event in board.Scalars("eval/f1")]
    best = 2 * (1 + int(np.argmax(scores)))
    assert (judged / "best").readlink().name == f"step-{best:07d}"
    assert (judged / "last").readlink().name == "step-0000006"
    assert json.loads((judged / "last/state/trainer.json").read_text())["best"] == max(scores)
    load_model(judged / "best")


def test_points_are_drawn_where_they_are():
    black = np.zeros((100, 200, 3), np.uint8)
    example = EvalExample(image=black, prompt="", points=((25.0, 50.0),))
    answer = '<point x="75.0" y="50.0" alt="cube">cube</point>'
    drawn = with_points(example, answer)
    assert tuple(drawn[50, 50]) == TRUE_COLOUR
    around = drawn[40:60, 140:160].reshape(-1, 3)
    assert (around == SAID_COLOUR).all(-1).any()
    assert not black.any()


@pytest.mark.parametrize("name", PRESETS)
def test_checkpoints_have_the_published_tensors(name, test_data):
    model = empty_model(PRESETS[name])
    shapes = {n: (tuple(p.shape), p.dtype) for n, p in model.named_parameters()}
    options = Options(start=test_data, output=test_data, lora=4)
    learner = prepared(model, sft(), options, Worker(device=torch.device("meta")))
    assert {n: (tuple(w.shape), w.dtype) for n, w in merged_weights(learner.model)} == shapes
    if name == "Molmo-7B-D-0924":
        index = test_data / "published" / "molmo-7b-d" / "model.safetensors.index.json"
        published = set(json.loads(index.read_text())["weight_map"])
        assert {published_name(n, model.config) for n in shapes} == published


def test_the_main_embedding_is_frozen_unless_a_recipe_trains_it(root):
    options = Options(start=root, output=root)

    def trains(recipe) -> bool:
        learner: PackedLearner = prepared(load_model(root / "start"), recipe, options, Worker())
        assert learner.model.transformer.wte.new_embedding.requires_grad
        return learner.model.transformer.wte.embedding.requires_grad

    assert not trains(sft())
    assert trains(replace(sft(), train_embedding=True))


def test_recipes_have_the_published_numbers():
    one, two = captions(), sft()
    assert (one.batch, two.batch) == (128, 256)
    assert one.steps(712_000) == 4 * (712_000 + 127) // 128
    assert two.steps(1) == 30_000
    assert (one.length, two.length) == (2304, 2304)
    assert (one.dropout.rate, one.dropout.answers_only) == (0.1, True)
    assert (two.dropout.rate, two.dropout.answers_only) == (0.1, False)
    assert (one.form, two.form) == ("caption", "chat")


def test_options_change_a_recipe(root):
    options = Options(start=root, output=root, steps=7, batch=8, micro_batch=1)
    changed = adjusted(my_data(), options, {"my-data": [None] * 33})
    assert (changed.training.schedule.steps, changed.batch, changed.micro_batch) == (7, 8, 1)
    epochs = adjusted(my_data(), replace(options, steps=None), {"my-data": [None] * 33})
    assert epochs.training.schedule.steps == 5 * 40 // 8


def test_the_command_line_trains(root):
    where = ("--from", root / "start", "--data", root / "data", "--output", root / "cli")
    molmo("train", "my-data", *where, "--steps", 2, "--batch", 2)
    assert json.loads((root / "cli" / "last/state/trainer.json").read_text())["step"] == 2
    load_model(root / "cli" / "last")


def test_captions_of_pictures_from_the_web_are_trained_in_two_commands(root, tmp_path):
    web = Web()
    urls = [web.add(f"/{n}.png", picture(n)) for n in range(4)]
    rows = [  # 2,048 of them are held out
        {"image_url": urls[n % 4], "caption": f"It is {n}.", "transcripts": ["One.", "Two."]}
        for n in range(2060)
    ]
    write_parquet(tmp_path / "sets" / "pixmo-cap" / "train-0.parquet", rows)
    store = ("--store", tmp_path / "store")
    table = ("--data", tmp_path / "sets" / "pixmo-cap")
    molmo("collect", "pixmo_cap", *table, *store, "--private")
    web.close()
    where = ("--from", root / "start", "--data", tmp_path / "sets", "--output", tmp_path / "run")
    molmo("train", "captions", *where, *store, "--steps", 2, "--batch", 2)
    state = json.loads((tmp_path / "run/last/state/trainer.json").read_text())
    assert state["step"] == 2


def molmo(*words: object) -> None:
    """Runs the program in a process of its own."""
    command = [sys.executable, "-c", "from molmo_cli.main import main; main()"]
    subprocess.run([*command, *map(str, words)], check=True, timeout=120)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("captons",), "no recipe is called 'captons'; there are: captions, sft"),
        (("sft",), "name it with --from DIR"),
        (("molmo-tiny", "--steps", "3"), "give it --output alone"),
    ],
)
def test_a_command_that_cannot_be_is_told_why(arguments, said, capsys):
    with pytest.raises(SystemExit) as end:
        main(["train", *arguments])
    assert end.value.code == 1
    assert said in capsys.readouterr().err
