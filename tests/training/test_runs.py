"""The run over a task: what is asked once is not asked again; two runs are compared by pairs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from molmo_model.pictures import PictureError
from molmo_model.text import PromptError
from molmo_training.evaluate import Outcome, evaluate
from molmo_training.predictions import Prediction, Predictions
from molmo_training.tasks_example import EvalExample, TaskError
from molmo_training.tasks_own import OwnExamples
from molmo_training.tasks_scores import by_count

RGB = np.zeros((2, 2, 3), np.uint8)
EXAMPLES = OwnExamples(
    tuple(EvalExample(id=str(i), image=RGB, prompt=f"How many? {i}", number=i) for i in range(4))
)


class Counter:
    """Answers 1 whatever it is asked, and remembers what it was."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, rgb: np.ndarray, prompt: str) -> str:
        self.asked.append(prompt)
        return "a total of 1."


def test_figures_are_means_over_the_examples():
    outcome = evaluate(EXAMPLES, by_count, Counter(), Predictions({}))
    assert outcome.means == {"correct": 0.25, "close": 0.75}
    assert outcome.figures["close"].n == 4


def test_a_run_goes_on_where_it_stopped(tmp_path):
    counter = Counter()
    with Predictions({}, tmp_path / "answers.jsonl") as kept:
        evaluate(OwnExamples(EXAMPLES.examples[:2]), by_count, counter, kept)
    with Predictions({}, tmp_path / "answers.jsonl") as kept:
        outcome = evaluate(EXAMPLES, by_count, counter, kept)
    assert counter.asked == [f"How many? {i}" for i in range(4)]
    assert len(outcome.scores) == len(outcome.seconds) == 4


def test_pictures_that_cannot_be_had_are_left_out_and_said():
    def broken() -> np.ndarray:
        raise PictureError("gone")

    first, *rest = EXAMPLES.examples
    examples = OwnExamples((replace(first, image=broken), *rest))
    outcome = evaluate(examples, by_count, Counter(), Predictions({}))
    assert outcome.unseen == ["gone"]
    assert outcome.figures["correct"].n == 3


def test_questions_that_are_refused_count_as_wrong():
    def refusing(rgb: np.ndarray, prompt: str) -> str:
        raise PromptError("too long")

    nothing = OwnExamples((EvalExample(image=RGB, prompt="Point to the cat.", points=()),))
    outcome = evaluate(
        nothing, lambda text, example: {"f1": float(text == "")}, refusing, Predictions({})
    )
    assert outcome.means == {"f1": 0}
    assert outcome.refused == ["too long"]


def test_a_refused_question_is_asked_again():
    kept = Predictions({})
    kept.add(Prediction(id="0", prompt="How many? 0", text="", seconds=0, refusal="too long"))
    outcome = evaluate(OwnExamples(EXAMPLES.examples[:1]), by_count, Counter(), kept)
    assert outcome.refused == []


def test_a_run_that_judges_nothing_is_an_error():
    def broken() -> np.ndarray:
        raise PictureError("gone")

    examples = OwnExamples((replace(EXAMPLES.examples[0], image=broken),))
    with pytest.raises(TaskError, match="of 1 examples none could be judged: gone"):
        evaluate(examples, by_count, Counter(), Predictions({}))


def test_progress_ends_at_the_end():
    done: list[int] = []
    evaluate(EXAMPLES, by_count, Counter(), Predictions({}), done.append)
    assert done == [1, 2, 3, 4, 4]


def test_runs_are_compared_on_what_both_answered():
    one = Outcome(scores={"a": {"f1": 1.0}, "b": {"f1": 0.5}, "c": {"f1": 1.0}})
    other = Outcome(scores={"a": {"f1": 0.0}, "b": {"f1": 0.5}})
    difference = one.minus(other)["f1"]
    assert (difference.mean, difference.n) == (0.5, 2)
    assert other.minus(one)["f1"].mean == -0.5


def test_without_a_model_the_rest_is_left_out():
    kept = Predictions({})
    evaluate(OwnExamples(EXAMPLES.examples[:1]), by_count, Counter(), kept)
    outcome = evaluate(EXAMPLES, by_count, None, kept)
    assert list(outcome.scores) == ["0"]


def test_evaluation_needs_no_simulator_and_no_tables(tmp_path):
    import subprocess
    import sys

    blocked = "('mujoco', 'scipy', 'datasets', 'torch')"
    code = f"import sys\nfor name in {blocked}: sys.modules[name] = None\n"
    code += "from molmo_training import evaluate, predictions, tasks\nprint(len(tasks.TASKS))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_at_least_one_scene_is_needed():
    from molmo_training.tasks_scenes import SceneExamples

    with pytest.raises(ValueError, match="at least one scene"):
        SceneExamples(0, 0)
