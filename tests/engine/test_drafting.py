"""Guessing ahead changes nothing but the number of passes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from bundles import golden_bundle
from recipes import GOLDEN
from scripted import ONE, RGB, scripted, word_tokenizer
from tiny import byte_tokenizer, config_for

from molmo_engine.bundle import Bundle
from molmo_engine.decoding import Decoding
from molmo_engine.drafting import Drafter
from molmo_engine.ort_runtime import OrtRuntime, dialects_here
from molmo_engine.predictor import Predictor
from molmo_engine.records import AskOptions
from molmo_engine.runtime import Runtime
from molmo_model.molmo import Molmo
from molmo_model.points import Point, format_count, format_points
from molmo_model.text import Prompter, load_tokenizer
from molmo_model.torch_runtime import TorchRuntime

KINDS = [*dialects_here(), "torch"]
CUBE = ' <point x="25.0" y="50.5" alt="red cube">red cube</point>'
PAIRS = [Point(7.3, 100.0), Point(12.5, 0.4), Point(88.1, 9.9)]
TEXTS = (
    ONE,
    CUBE,
    " " + format_points([Point(7.3, 100.0)], "mug"),
    " " + format_points(PAIRS, "green mugs"),
    " " + format_count(PAIRS, "cups and balls") + " Or not.",
    " " + format_count(PAIRS[:1], "cup"),
    " There are none.",
    " There are <b>many</b> things: a <point, x and y.",
    ' <points x1="1.0" y1="2.0" x3="3.5" y3="4" alt="a"b">c</point></points> Counting the <',
    ' <point x="250" y="1.25" alt="red mug">red cube</point> and <point x="3" y="4">',
    " Click(12.5, 40.0)",
)
PROMPTS = ("Point to the red cube.", "How many green mugs are there?", "Cups and balls: a, b")


@pytest.mark.parametrize("tokenizer", [byte_tokenizer, word_tokenizer])
@pytest.mark.parametrize("text", TEXTS)
def test_an_answer_is_the_same_with_and_without_guessing(text, tokenizer):
    predictor = scripted(text, tokenizer())
    for prompt in PROMPTS:
        plain = predictor.ask(RGB, prompt, AskOptions(draft=False))
        drafted = predictor.ask(RGB, prompt)
        assert plain.text == drafted.text == text[1:]
        assert plain.found == drafted.found
        assert plain.usage.answer_tokens == drafted.usage.answer_tokens
        assert plain.usage.passes == plain.usage.answer_tokens + 1
        assert drafted.usage.passes <= plain.usage.passes


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("limit", [1, 2, 5, 11, 23])
def test_the_limit_cuts_at_the_same_token(text, limit):
    predictor = scripted(text, word_tokenizer())
    plain = predictor.ask(RGB, "Red cube?", AskOptions(max_new_tokens=limit, draft=False))
    drafted = predictor.ask(RGB, "Red cube?", AskOptions(max_new_tokens=limit))
    assert plain.text == drafted.text
    assert plain.found == drafted.found


def test_guesses_stay_inside_the_cache():
    room = scripted(CUBE, word_tokenizer()).ask(RGB, "Red cube?").usage
    for answer in range(1, room.answer_tokens):
        predictor = scripted(CUBE, word_tokenizer(), capacity=room.prompt_tokens + answer)
        assert predictor.ask(RGB, "Red cube?").usage.answer_tokens == answer


@pytest.mark.parametrize("prompt", ["Point to the red cube.", "Where is the Red Cube?"])
def test_a_point_takes_a_third_of_the_passes(prompt):
    predictor = scripted(CUBE, word_tokenizer())
    plain = predictor.ask(RGB, prompt, AskOptions(draft=False)).usage.passes
    assert (predictor.ask(RGB, prompt).usage.passes, plain) == (9, 27)


@pytest.mark.parametrize(("name", "passes"), [("molmo-7b-d", (9, 27)), ("molmoe-1b", (7, 25))])
def test_published_tokenizers_spell_what_is_guessed(name, passes, test_data):
    predictor = scripted(CUBE, load_tokenizer(test_data / "published" / name))
    plain = predictor.ask(RGB, "Point to the red cube.", AskOptions(draft=False))
    drafted = predictor.ask(RGB, "Point to the red cube.")
    assert drafted.found == plain.found
    assert (drafted.usage.passes, plain.usage.passes) == passes


def test_several_points_take_less_than_half_of_the_passes():
    predictor = scripted(" " + format_count(PAIRS, "red cubes"), word_tokenizer())
    plain = predictor.ask(RGB, "How many red cubes?", AskOptions(draft=False)).usage.passes
    assert predictor.ask(RGB, "How many red cubes?").usage.passes < 0.5 * plain


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (" <", 'point x="'),
        (' <point x="25', "."),
        (' <point x="25.0', '" y="'),
        (' <points x1="25.0" y1="50.5', '" x2="'),
        (' <points x1="2.0" y1="5.5" alt', '="'),
        (' <point x="25.0" y="50.5" alt="red', ' cube">red cube</point>'),
        (' <points x1="2.0" y1="5.5" alt="cups">', "cups</points>"),
        (" Counting the <point", ' x="'),
        (' Counting the <points x1="2.0" y1="5.5" x2="3.0" y2="4.0" alt="a">a</points>',
         " shows a total of 2."),
        (" There", " are none."),
        (' <point x="25.', ""),
        (" The cube is red", ""),
    ],
)  # fmt: skip
def test_what_the_markup_forces_is_guessed(written, expected):
    drafter = Drafter(word_tokenizer(), "Point to the red cube.")
    for token in word_tokenizer().encode(written).ids:
        drafter.add(token)
    assert word_tokenizer().decode(drafter.draft(100)) == expected


class Noisy:
    """Guesses what follows, often rightly."""

    def __init__(self, tokens: list[int], seed: int) -> None:
        self.tokens, self.at, self.rng = tokens, 0, np.random.default_rng(seed)

    def add(self, token):
        self.at += 1

    def draft(self, count):
        true = self.tokens[self.at : self.at + count]
        wrong = self.rng.integers(0, 256, len(true))
        return np.where(self.rng.random(len(true)) < 0.8, true, wrong).tolist()


class Leaning(TorchRuntime):
    """A model of random weights that would rather write a text; now and then it errs."""

    def __init__(self, model, tokens: list[int]) -> None:
        super().__init__(model)
        self.tokens, self.prompt = tokens, 0

    def prefill(self, ids, features, behind=None):
        logits = super().prefill(ids, features, behind)
        self.prompt = self.cache.length
        return self.lean(logits[None], 0)[0]

    def step(self, ids):
        read = self.cache.length - self.prompt
        return self.lean(super().step(ids), read + 1)

    def lean(self, logits, first):
        for row, token in zip(logits, self.tokens[first:], strict=False):
            row[token] += 3.5 * row.std()
        return logits


@pytest.mark.parametrize("text", [CUBE, " " + format_count(PAIRS, "red cubes")])
@pytest.mark.parametrize("variant", ["tiny-qwen2", "tiny-olmo", "tiny-moe"])
def test_random_models_answer_the_same_with_and_without_guessing(variant, text):
    tokenizer = word_tokenizer()
    config = config_for(tokenizer, variant)
    prompter = Prompter(tokenizer, config)
    options = AskOptions(max_new_tokens=len(prompter.text_ids(text)))
    erred = passes = greedy = 0
    for seed in range(3):
        torch.manual_seed(seed)
        model = Molmo(config)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        runtime = Leaning(model, prompter.text_ids(text))
        predictor = Predictor(runtime, prompter, config, model_id="leaning")
        plain = predictor.ask(RGB, "Where is the red cube?", replace(options, draft=False))
        drafted = predictor.ask(RGB, "Where is the red cube?", options)
        assert drafted.text == plain.text
        assert drafted.points == plain.points
        assert drafted.usage.answer_tokens == plain.usage.answer_tokens
        erred += plain.text != text[1:]
        passes, greedy = passes + drafted.usage.passes, greedy + plain.usage.passes
    assert erred > 0
    assert passes < greedy


def runtime_of(variant, kind) -> Runtime:
    if kind == "torch":
        return TorchRuntime.from_checkpoint(GOLDEN / variant)
    return OrtRuntime(Bundle.open(golden_bundle(variant=variant)), threads=1, dialect=kind)


def decode(runtime, prompt, drafter=None):
    decoding = Decoding(
        runtime=runtime, prompt=len(prompt), limit=40, stop=frozenset(), drafter=drafter
    )
    chosen = list(decoding.tokens(runtime.prefill(prompt, None), lambda: None))
    return [c.token for c in chosen], [c.probability for c in chosen], decoding.passes


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("variant", ["tiny-qwen2", "tiny-olmo", "tiny-moe"])
def test_every_runtime_forgets_wrong_guesses(variant, kind):
    runtime = runtime_of(variant, kind)
    for seed in range(3):
        prompt = np.random.default_rng(seed).integers(0, 250, 9 + seed)
        plain, sure, passes = decode(runtime, prompt)
        assert passes == len(plain) == 40
        drafted, drafted_sure, fewer = decode(runtime, prompt, Noisy(plain, seed))
        assert drafted == plain
        assert drafted_sure == pytest.approx(sure, rel=1e-3)
        assert fewer < 0.6 * passes
