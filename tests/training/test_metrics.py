"""The published metrics: equal to golden scores, bounded, and deaf to no text at all."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recipes import GOLDEN

from molmo_model.points import Point, format_points
from molmo_training.metrics_choice import (
    choose_letter,
    choose_option,
    is_letter_or_answer,
    is_number,
    is_open_answer,
)
from molmo_training.metrics_numbers import clock_scores, count_scores, read_time, stated_count
from molmo_training.metrics_points import is_point_text, mask_scores, near_scores
from molmo_training.metrics_text import (
    anls,
    direct_answer_score,
    edit_distance,
    exact_match,
    final_answer,
    relaxed_accuracy,
    vqa_normalised,
    vqa_score,
)

METRICS = json.loads((GOLDEN / "text" / "metrics.json").read_text())
POINTING = METRICS["pointing_eval"]
WIDTH, HEIGHT = POINTING["image_wh"]
SPOTS = [(x / WIDTH * 100, y / HEIGHT * 100) for x, y in POINTING["gt_points_pixels"]]
WORDS = ["a", "total", "of", "3", "half", "past", "none", "Answer:", "(B)", "12:61", 'x="1"']
# Answers that look like answers, and texts that look like nothing.
TEXTS = st.one_of(
    st.text(max_size=80),
    st.text("0123456789:.,%()ABCD =-", max_size=30),
    st.lists(st.sampled_from(WORDS)).map(" ".join),
)
SPOT = st.tuples(st.floats(0, 100), st.floats(0, 100))


def masks() -> np.ndarray:
    """The two things of the golden file."""
    outlines = np.zeros((2, HEIGHT, WIDTH), bool)
    outlines[0, 10:20, 10:20] = True
    outlines[1, 30:40, 50:70] = True
    return outlines


@pytest.mark.parametrize("row", METRICS["vqa_score"], ids=lambda row: row["pred"])
def test_vqa_scores_are_the_published(row):
    assert vqa_score(row["pred"], row["answers"]) == pytest.approx(row["score"])


@pytest.mark.parametrize("row", METRICS["anls"], ids=lambda row: row["pred"])
def test_anls_is_the_published(row):
    assert anls(row["pred"], [row["target"]]) == pytest.approx(row["score"])


@pytest.mark.parametrize("row", METRICS["relaxed_correctness"], ids=lambda row: row["pred"])
def test_relaxed_accuracy_is_the_published(row):
    assert relaxed_accuracy(row["pred"], row["target"]) == row["score"]


@pytest.mark.parametrize("row", METRICS["select_mc_option"], ids=lambda row: row["pred"])
def test_options_are_chosen_as_published(row):
    assert choose_option(row["pred"], row["options"]) == row["index"]


@pytest.mark.parametrize("row", METRICS["a_okvqa_score"], ids=lambda row: row["pred"])
def test_direct_answers_are_scored_as_published(row):
    assert direct_answer_score(row["pred"], row["answers"]) == pytest.approx(row["score"])


@pytest.mark.parametrize("row", METRICS["is_valid_point_format"], ids=lambda row: row["text"])
def test_the_point_format_is_the_published(row):
    assert is_point_text(row["text"]) == row["valid"]


@pytest.mark.parametrize("row", POINTING["rows"], ids=lambda row: f"{row['text']} {row['has_gt']}")
def test_pointing_is_scored_as_published(row):
    targets = SPOTS if row["has_gt"] else []
    scores = mask_scores(row["text"], targets, masks() if row["has_gt"] else masks()[:0])
    for name in ("precision", "recall", "f1"):
        assert scores[name] == pytest.approx(row[name], abs=1e-6)  # the golden ones are float32


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("The two  cats", "2 cats"),
        ("dont", "don't"),
        ("couldnt've", "couldn't've"),
        ("o clock, oclock", "o clock o'clock"),
        ("1,000.", "1000"),
        ("3.5 m.", "3.5 m"),
        ("left/right", "left right"),
        ("left / right", "left right"),
        ("None", "0"),
        ("well", "well"),
    ],
)
def test_answers_are_normalised(text, normalised):
    assert vqa_normalised(text) == normalised


def test_the_final_answer_is_what_is_said_to_be_it():
    assert final_answer("The sign is red.\nAnswer: stop") == "stop"
    assert final_answer("stop\ngo\nstop") == "stop"
    assert final_answer(" stop\ngo") == "stop"
    assert final_answer("\n ") == ""


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("B", 1),
        ("b.", 1),
        ("(B)", 1),
        ("Not (A), so (B) it is.", 1),
        ("The answer is B.", 1),
        ("B: a dog", 1),
        ("A dog", 1),
        ("I see a dog there", 1),
        ("neither", None),
        ("E", None),
        ("", None),
    ],
)
def test_letters_are_read(text, index):
    assert choose_letter(text, ["a cat", "a dog"]) == index


def test_an_option_is_chosen_by_containment_only_if_it_is_the_only_one():
    assert choose_option("red", ["dark red", "red car", "reds"]) == 2  # by edits
    assert choose_option("car", ["dark red", "red car", "reds"]) == 1


def test_open_answers_hold_the_reference():
    assert is_open_answer("so it is 1,234.5 N", ["1234.50"])
    assert is_open_answer("This is the Cell Wall.", ["cell wall"])
    assert not is_open_answer("This is the cell's wallpaper.", ["wall"])
    assert not is_open_answer("12", ["2"])


def test_real_world_answers_are_letters_or_words():
    question = "Which way?\nA. left\nB. right\nAnswer with the letter."
    assert is_letter_or_answer("B", "B", question)
    assert is_letter_or_answer("right", "B", question)
    assert not is_letter_or_answer("left", "B", question)
    assert is_letter_or_answer("Two.", "2", "How many cars?")


def test_numbers_are_compared_rounded():
    assert is_number("x = 1.234", "1.23", 2)
    assert is_number("about 7 of 9", "9", 0)
    assert not is_number("no idea", "9", 0)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ('Counting the <point x="1.0" y="2.0" alt="a">a</point> shows a total of 1.', 1),
        ("There are none.", 0),
        ("This isn't in the image.", 0),
        ("I see twelve", 12),
        ("Twenty.", 20),
        ("thirty", None),
        ("a total of 14 birds", 14),
        ("some", None),
        ("", None),
        ("9" * 5000, None),
    ],
)
def test_counts_are_read(text, count):
    assert stated_count(text) == count


def test_a_count_is_right_or_close_or_wrong():
    assert count_scores("3", 3) == {"correct": 1, "close": 1}
    assert count_scores("4", 3) == {"correct": 0, "close": 1}
    assert count_scores("5", 3) == {"correct": 0, "close": 0}
    assert count_scores("There are none.", 0) == {"correct": 1, "close": 1}
    assert count_scores("?", 0) == {"correct": 0, "close": 0}


@pytest.mark.parametrize(
    ("text", "hour", "minute"),
    [
        ("3:45", 3, 45),
        ("The time is 15:45:10.", 3, 45),
        ("It shows 10.10 pm", 10, 10),
        ("quarter to nine", 8, 45),
        ("a quarter past 12", 0, 15),
        ("half past four", 4, 30),
        ("five to one", 0, 55),
        ("twenty-five minutes past three", 3, 25),
        ("7 o'clock", 7, 0),
        ("7pm", 7, 0),
        ("eleven thirty", 11, 30),
        ("It is noon.", 0, 0),
        ("12:61, no, 12:16", 0, 16),
    ],
)
def test_times_are_read(text, hour, minute):
    assert read_time(text) == hour * 60 + minute


@pytest.mark.parametrize("text", ["", "a clock", "25:99", "at five", "10 of 12", "1:2"])
def test_what_is_no_time_is_not_read_as_one(text):
    assert read_time(text) is None


def test_a_time_is_right_within_a_minute_around_the_dial():
    assert clock_scores("12:00", 719) == {"correct": 1, "hour": 0, "minute": 1}
    assert clock_scores("3:47", 3 * 60 + 45) == {"correct": 0, "hour": 1, "minute": 0}
    assert clock_scores("4:45", 3 * 60 + 45) == {"correct": 0, "hour": 0, "minute": 1}
    assert clock_scores("late", 0) == {"correct": 0, "hour": 0, "minute": 0}


def test_points_near_their_targets_hit_whatever_stands_around_them():
    targets = [(10.0, 10.0), (50.0, 50.0)]
    text = "Counting the " + format_points([Point(11, 10), Point(50, 60)], "mug") + " gives 2."
    scores = near_scores(text, targets, (100, 100), 0.05)
    assert scores == {"f1": 0.5, "precision": 0.5, "recall": 0.5}
    assert near_scores("There are none.", [], (100, 100), 0.05)["f1"] == 1
    assert near_scores(text, [], (100, 100), 0.05)["f1"] == 0


def test_a_point_counts_for_one_target_only():
    targets = [(10.0, 10.0), (11.0, 10.0)]
    scores = near_scores(format_points([Point(10, 10)], "mug"), targets, (100, 100), 0.05)
    assert scores == {"f1": pytest.approx(2 / 3), "precision": 1, "recall": 0.5}


def test_labels_may_hold_quotes_and_angles():
    assert is_point_text('<point x="1.0" y="2.0" alt="12" < pipe">12" < pipe</point>')
    assert not is_point_text('<point x="1.0" y="2.0" alt="a">a</point> <point x="3.0" y="2.0"')


def test_a_point_outside_the_picture_is_no_point():
    assert mask_scores('<point x="101.0" y="2.0" alt="a">a</point>', SPOTS, masks())["f1"] == 0


@given(TEXTS, st.lists(TEXTS, min_size=1, max_size=4))
@settings(max_examples=300)
def test_scores_are_shares_whatever_the_text(text, answers):
    shares = [
        vqa_score(text, answers),
        direct_answer_score(text, answers),
        anls(text, answers),
        *count_scores(text, 3).values(),
        *clock_scores(text, 225).values(),
        *mask_scores(text, SPOTS, masks()).values(),
        *near_scores(text, SPOTS, (WIDTH, HEIGHT), 0.05).values(),
    ]
    assert all(0 <= share <= 1 for share in shares)
    assert choose_option(text, answers) in range(len(answers))
    assert choose_letter(text, answers) in {None, *range(len(answers))}
    claims = (
        relaxed_accuracy(text, answers[0]),
        is_number(text, answers[0], 2),
        is_open_answer(text, answers),
        is_letter_or_answer(text, answers[0], answers[-1]),
    )
    assert set(claims) <= {True, False}


@given(TEXTS, st.permutations(["a cat", "cat", "two", "2", "Two.", "yes"]))
def test_the_order_of_references_does_not_matter(text, answers):
    for score in (vqa_score, direct_answer_score, anls, exact_match):
        assert score(text, answers) == score(text, sorted(answers))


@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(1, 6))
def test_the_order_of_targets_does_not_matter(seed, n, m):
    rng = np.random.default_rng(seed)  # places at random: no two ways to pair them cost the same
    targets = [(x, y) for x, y in rng.uniform(0, 100, (m, 2))]
    text = format_points([Point(x, y) for x, y in rng.uniform(0, 100, (n, 2))], "mug")
    scores = near_scores(text, targets, (640, 480), 0.2)
    assert near_scores(text, targets[::-1], (640, 480), 0.2) == scores


@given(st.lists(SPOT, min_size=1, max_size=8, unique=True))
def test_pointing_at_every_target_is_perfect(targets):
    text = format_points([Point(x, y) for x, y in targets], "mug")
    assert near_scores(text, targets, (640, 480), 0.01)["recall"] == 1


@given(st.text(max_size=12), st.text(max_size=12), st.text(max_size=12))
def test_edits_are_a_distance(a, b, c):
    assert edit_distance(a, b) == edit_distance(b, a)
    assert (edit_distance(a, b) == 0) == (a == b)
    assert edit_distance(a, c) <= edit_distance(a, b) + edit_distance(b, c)
