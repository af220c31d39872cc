"""Answers in a file: a run goes on where it stopped, whatever it was killed in."""

from __future__ import annotations

import json

import pytest

from molmo_training.predictions import (
    Prediction,
    Predictions,
    PredictionsError,
    read_predictions,
)

ABOUT = {"task": "scenes", "seed": 7, "model": "tiny", "engine": "torch"}


def prediction(number: int) -> Prediction:
    return Prediction(id=str(number), prompt="Where?", text=f'"{number}"\n€', seconds=0.5)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "answers.jsonl"
    with Predictions(ABOUT, path) as predictions:
        for number in range(3):
            predictions.add(prediction(number))
    return path


def test_answers_are_found_again(file):
    with Predictions(ABOUT, file) as predictions:
        assert predictions.find("2", "Where?") == prediction(2)
        assert predictions.find("3", "Where?") is None
        predictions.add(prediction(3))
    assert len(file.read_text().splitlines()) == 5
    assert read_predictions(file, {"task": "scenes"}).find("3", "Where?") == prediction(3)


def test_a_run_goes_on_behind_every_byte_at_which_it_can_be_killed(file):
    whole = file.read_bytes()
    for cut in range(len(whole)):
        file.write_bytes(whole[:cut])
        with Predictions(ABOUT, file) as predictions:
            for number in range(3):
                if predictions.find(str(number), "Where?") is None:
                    predictions.add(prediction(number))
        assert file.read_bytes() == whole


def test_answers_of_another_run_are_refused(file):
    with pytest.raises(PredictionsError, match="its engine is 'torch', this run's 'onnxruntime'"):
        Predictions(ABOUT | {"engine": "onnxruntime"}, file)
    with pytest.raises(PredictionsError, match="its seed is 7, this run's 8"):
        read_predictions(file, {"task": "scenes", "seed": 8})


def test_answers_to_another_prompt_are_refused(file):
    with Predictions(ABOUT, file) as predictions, pytest.raises(PredictionsError, match="others"):
        predictions.find("1", "How many?")


@pytest.mark.parametrize("damage", ["no JSON\n", "[]\n", '{"id": "1"}\n', "\xff\n"])
def test_a_damaged_file_is_refused(file, damage):
    head, *rest = file.read_text().splitlines(keepends=True)
    file.write_text("".join([head, damage, *rest]), encoding="latin-1")
    with pytest.raises(PredictionsError, match="is no file of predictions, or damaged"):
        Predictions(ABOUT, file)


def test_a_file_of_something_else_is_refused_and_stays(tmp_path):
    file = tmp_path / "data.jsonl"
    file.write_text(json.dumps({"image": "a.png"}) + "\n")
    with pytest.raises(PredictionsError, match="Wanted: what molmo eval"):
        Predictions(ABOUT, file)
    assert file.read_text() == json.dumps({"image": "a.png"}) + "\n"
