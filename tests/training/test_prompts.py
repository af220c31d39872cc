"""Annotations written as text: equal to the published formatting, in our own words."""

from __future__ import annotations

import json
import re
from collections import Counter

import numpy as np
import pytest
from recipes import GOLDEN

from molmo_model.points import parse_points
from molmo_training.prompts import (
    Exchange,
    caption_prompt,
    length_prompt,
    write_caption,
    write_chat,
)
from molmo_training.records import Annotation, Marks, Turn
from molmo_training.templates import ABSENT, CAPTION, COUNTING, NO_POINTING, POINTING

PROMPTS = json.loads((GOLDEN / "text" / "prompts.json").read_text())
FORMATS = json.loads((GOLDEN / "text" / "pointing.json").read_text())
SIZE = (640, 480)


def rng(seed=0):
    return np.random.RandomState(seed)


def written(style, turn, seed=0, size=SIZE, tag_rate=1.0) -> Exchange:
    (exchange,) = write_chat(Annotation(style, (turn,)), rng(seed), size, tag_rate=tag_rate)
    return exchange


def turn_of(example) -> Turn:
    """A golden example as one of ours; a caption is asked for with the first template."""
    answers = example.get("answers", example.get("answer", example.get("text")))
    options = example.get("options") or example.get("unlabelled_options") or ()
    if options:
        index = example["answer_idx"]
        answers = chr(ord("A") + index) if "options" in example else options[index]
    return Turn(
        question=example.get("question") or example.get("prompt") or CAPTION[0],
        options=tuple(options),
        answers=(answers,) if isinstance(answers, str) else tuple(answers),
    )


@pytest.mark.parametrize(
    "row",
    [row for row in PROMPTS["formatting"] if "train_messages" in row],
    ids=lambda row: f"{row['system_prompt']}-{row['example']['style']}",
)
def test_texts_are_the_published_ones(row):
    exchange = written(row["example"]["style"], turn_of(row["example"]))
    assert [exchange.prompt, exchange.answer] == row["train_messages"]


def test_captioners_are_asked_as_published():
    rows = [r for r in PROMPTS["formatting"] if r["system_prompt"] == "style_and_length"]
    assert rows
    for row in rows:
        asked = caption_prompt(row["example"]["style"], row["default_inference_len"])
        assert [asked] == row["inference_messages"]


@pytest.mark.parametrize("row", PROMPTS["caption_length_prefix_training"])
def test_lengths_of_captions_are_drawn_as_published(row):
    drawn = rng(row["numpy_randomstate_seed"])
    assert length_prompt("long_caption", drawn, row["caption_chars"]) == row["user_message"]


@pytest.mark.parametrize(
    "row", FORMATS["format"], ids=lambda row: f"{row['style']}-{row['label']}"
)
def test_points_are_the_published_text(row):
    marks = Marks(points=tuple(map(tuple, row["points_percent"])), label=row["label"])
    turn = Turn(label=row["label"], marks=(marks,))
    answers = {written(row["style"], turn, seed).answer for seed in range(200)}
    denial = {f" {ABSENT}"} if row["style"] == "pointing" and not marks.points else set()
    assert answers == {f" {row['response']}"} | denial


def test_points_in_pixels_become_percent():
    example = FORMATS["pixel_example"]
    height, width = example["image_hw"]
    marks = Marks(points=tuple(map(tuple, example["points"])), label="Birds", in_pixels=True)
    exchange = written("point_count", Turn(label="Birds", marks=(marks,)), size=(width, height))
    assert exchange.answer == f" {example['response_reference']}"


def test_points_inside_a_sentence_are_the_published_text():
    example = FORMATS["annotated_example"]
    marks = (
        Marks(points=((10.0, 20.0),), label="a cup", text="cup"),
        Marks(points=((60.0, 20.0), (50.0, 30.0)), label="two plates", text="plates"),
    )
    turn = Turn(question="What is where?", answers=(example["template"],), marks=marks)
    assert written("point_qa", turn).answer == f" {example['response']}"


def test_words_of_a_sentence_keep_their_capitals():
    marks = (Marks(points=((1.0, 2.0),), label="The Eiffel Tower", text="Eiffel Tower"),)
    turn = Turn(question="Which?", answers=("The <|POINT|>.",), marks=marks)
    assert 'alt="The Eiffel Tower">Eiffel Tower</point>' in written("point_qa", turn).answer


def test_a_click_beside_the_picture_goes_to_its_edge():
    turn = Turn(label="cup", marks=(Marks(points=((100.4, -0.3),), label="cup"),))
    (point,) = parse_points(written("pointing", turn).answer)
    assert (point.x, point.y) == (100.0, 0.0)


@pytest.mark.parametrize(
    ("templates", "least"), [(CAPTION, 24), (POINTING, 45), (COUNTING, 57), (NO_POINTING, 30)]
)
def test_there_are_tens_of_templates_and_no_two_alike(templates, least):
    assert len(set(templates)) == len(templates) >= least
    assert all(text.strip() == text and text for text in templates)


def test_every_label_template_names_what_it_asks_for_once():
    for template in POINTING + COUNTING:
        assert template.count("{label}") == 1
        assert not re.search(r"[{}]", template.replace("{label}", ""))


def test_labels_are_asked_for_in_lower_case_whatever_they_hold():
    turn = Turn(label="A {label} & CO", marks=(Marks(points=(), label="A {label} & CO"),))
    prompts = {written("pointing", turn, seed).prompt for seed in range(300)}
    assert all("a {label} & co" in prompt for prompt in prompts)
    assert len(prompts) == len(POINTING)


def test_a_question_that_says_how_to_deny_is_denied_so():
    turn = Turn(label="cup", marks=(Marks(points=(), label="cup"),))
    exchanges = [written("pointing", turn, seed) for seed in range(300)]
    said_how = [e for e in exchanges if ABSENT in e.prompt]
    assert said_how and {e.answer for e in said_how} == {f" {ABSENT}"}
    assert {e.answer for e in exchanges if e not in said_how} == {" There are none."}


@pytest.mark.parametrize("style", ["user_qa", "synthetic_qa"])
def test_how_many_in_words_asks_for_no_points(style):
    def asked(question, seed=0):
        turn = Turn(question=question, answers=("Two.",))
        return written(style, turn, seed).prompt

    prefixes = {
        re.fullmatch(rf" User: {style}: (.*) How many cups\? Assistant:", prompt)[1]
        for prompt in (asked("How many cups?", seed) for seed in range(400))
    }
    assert prefixes == set(NO_POINTING)
    assert asked("What is it?") == f" User: {style}: What is it? Assistant:"


def test_a_follow_up_keeps_its_own_words():
    turns = (
        Turn(question="What is on the table?", answers=("Cups.",)),
        Turn(question="How many of them?", answers=("Three.",)),
    )
    first, second = write_chat(Annotation("synthetic_qa", turns), rng(), SIZE)
    assert first.prompt == " User: synthetic_qa: What is on the table? Assistant:"
    assert second.prompt.endswith(" How many of them? Assistant:")
    assert "table" not in second.prompt and "synthetic_qa" not in second.prompt
    assert second.answer == " Three."


def test_other_sets_may_answer_how_many():
    turn = Turn(question="How many cups?", answers=("2",))
    assert written("vqa2", turn).prompt == " User: vqa2: How many cups? Assistant:"


def test_one_of_the_most_frequent_answers_is_drawn():
    turn = Turn(question="?", answers=("a", "b", "a", "c", "b"))
    drawn = Counter(written("vqa2", turn, seed).answer for seed in range(400))
    assert set(drawn) == {" a", " b"}
    assert 140 < drawn[" a"] < 260  # six standard deviations of 400 tosses


def test_questions_in_own_words_rarely_say_their_style():
    turn = Turn(question="What?", answers=("x",))
    tagged = sum(
        "user_qa: " in written("user_qa", turn, seed, tag_rate=0.1).prompt for seed in range(2000)
    )
    assert 120 < tagged < 280  # six standard deviations around one in ten


def test_a_captioner_reads_no_question():
    (exchange,) = write_caption(
        Annotation("transcript", (Turn(answers=("Well, I see.",)),)), rng(4)
    )
    assert re.fullmatch(r" transcript -?\d*:", exchange.prompt)
    assert exchange.answer == " Well, I see."


def test_a_turn_without_answer_cannot_be_written():
    with pytest.raises(ValueError, match=r"'What\?' has no answer"):
        written("vqa2", Turn(question="What?"))
