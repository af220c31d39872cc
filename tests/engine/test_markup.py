"""Nothing but whole point markup stands in tags, whatever the model would rather write."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scripted import RGB, scripted, word_tokenizer
from tiny import byte_tokenizer

from molmo_engine.markup import Markup
from molmo_engine.records import AskOptions
from molmo_model.points import Point, format_count, format_points

TAG = re.compile(
    r'<point x="[0-9.]+" y="[0-9.]+" alt="[^"<>]+">[^"<>]+</point>'
    r'|<points( x(\d+)="[0-9.]+" y\2="[0-9.]+")+ alt="[^"<>]+">[^"<>]+</points>'
)
PAIRS = [Point(7.3, 100.0), Point(12.5, 0.4), Point(88.1, 9.9)]
WELL_FORMED = AskOptions(well_formed=True)


@pytest.mark.parametrize("tokenizer", [byte_tokenizer, word_tokenizer])
@pytest.mark.parametrize(
    "text",
    [
        " There are none.",
        " " + format_points(PAIRS[:1], "mug"),
        " " + format_points(PAIRS, "grüne Tassen →"),
        " " + format_count(PAIRS, "mugs") + " " + format_points(PAIRS[1:2], "a, b"),
    ],
)
def test_what_is_well_formed_stays_as_it_is(text, tokenizer):
    predictor = scripted(text, tokenizer())
    masked, plain = (predictor.ask(RGB, "Mugs?", o) for o in (WELL_FORMED, AskOptions()))
    assert masked.text == plain.text == text[1:]
    assert masked.found == plain.found
    assert masked.usage == plain.usage


def begun(text: str) -> tuple[Markup, list[str]]:
    """The markup behind a text, and its vocabulary."""
    tokenizer = byte_tokenizer()
    markup = Markup(tokenizer, frozenset({tokenizer.token_to_id("<|endoftext|>")}))
    for token in tokenizer.encode(text).ids:
        markup.add(token)
    return markup, [tokenizer.decode([token]) for token in range(256)]


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("<", "p"),
        ("<point", " s"),
        ("<points x", "1"),
        ('<points x1="1.0" y1="2.0" x', "2"),
        ('<points x1="1.0" y1="2.0" ', "xa"),
        ('<point x="', "0123456789"),
        ('<point x="1', ".0123456789"),
        ('<point x="10', ".0"),
        ('<point x="100', "."),
        ('<point x="100.', "0"),
        ('<point x="99', "."),
        ('<point x="99.1', '"'),
        ('<point x="99.1" y="2.0" alt="a">a<', "/"),
    ],
)
def test_only_what_may_follow_can_be_chosen(text, allowed):
    markup, characters = begun(text)
    for seed in range(20):
        logits = np.random.default_rng(seed).normal(size=257).astype(np.float32)
        best = max(allowed, key=lambda c: logits[characters.index(c)])
        assert characters[markup.choose(logits)] == best


@pytest.mark.parametrize(("text", "may_stop"), [(" a", True), ("<point", False), ("a > b", True)])
def test_an_answer_does_not_end_within_a_tag(text, may_stop):
    markup, _ = begun(text)
    logits = np.zeros(261, np.float32)
    stop = byte_tokenizer().token_to_id("<|endoftext|>")
    logits[stop] = 9
    assert (markup.choose(logits) == stop) == may_stop


def test_random_numbers_write_nothing_but_whole_tags():
    tokenizer = byte_tokenizer()
    end = tokenizer.token_to_id("<|endoftext|>")
    rng = np.random.default_rng(0)
    written = 0
    for _ in range(10):
        markup, tokens = Markup(tokenizer, frozenset({end})), []
        while len(tokens) < 400 and tokens[-1:] != [end]:
            logits = rng.normal(size=261).astype(np.float32)
            logits[tokenizer.token_to_id("<")] += 5
            logits[tokenizer.token_to_id('"')] += 3
            logits[tokenizer.token_to_id("a")] += 1
            tokens.append(markup.choose(logits))
            markup.add(tokens[-1])
        text = tokenizer.decode(tokens)
        tags = list(TAG.finditer(text))
        written += len(tags)
        rest = TAG.sub("", text)
        assert rest.count("<point") <= 1  # cut off by the length
        assert tokens[-1] != end or "<" not in rest
    assert written > 10
