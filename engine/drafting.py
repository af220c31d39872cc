"""Guesses how an answer goes on: the fixed pieces of the point markup, and its repeated label.

A guess stands only where the model would have written the same, so a wrong one costs a little
time and changes nothing. Knows no engine and no probabilities.
"""

from __future__ import annotations

import re

from tokenizers import Tokenizer

from molmo_model.points import NOTHING
from molmo_model.text import TextStream

# How answers begin, and what follows the end of the text so far; \1 is the number of the point.
_OPENINGS = (f" {NOTHING}", " Counting the <point")
_MARKUP = tuple(
    (re.compile(pattern), following)
    for pattern, following in (
        (r"<$", 'point x="'),
        (r"<point$", ' x="'),
        (r"<points$", ' x1="'),
        (r'[xy]\d*="\d\d$', "."),
        (r'x(\d*)="\d+\.\d$', r'" y\1="'),
        (r'" alt$', '="'),
    )
)
_CLOSED_PAIR = re.compile(r'y(\d*)="\d+\.\d$')
_OPEN_LABEL = re.compile(r'alt="([^"<>]+)$')
_CLOSED_LABEL = re.compile(r'alt="([^"<>]+)">$')
_COUNTED = re.compile(r"Counting the <points?\b[^<]*</points?>$")
_LABEL_END = r"""[^.?!,;:"<>\n]*"""  # no punctuation and no markup


class Drafter:
    """Guesses the answer to one question; told every token that was really written."""

    def __init__(self, tokenizer: Tokenizer, prompt: str) -> None:
        self._tokenizer = tokenizer
        self._characters = TextStream(tokenizer)
        self._prompts = (prompt, prompt.lower())  # published labels are in lower case
        self._text = ""
        self._plan: list[int] = []  # tokens that should come next

    def add(self, token: int) -> None:
        """The next token of the answer."""
        self._plan = self._plan[1:] if self._plan[:1] == [token] else []
        self._text += self._characters.feed(token)

    def draft(self, count: int) -> list[int]:
        """At most `count` tokens that may come next; none where nothing can be told."""
        self._plan = self._plan or self._guess()
        return self._plan[:count]

    def _guess(self) -> list[int]:
        text = self._text
        for opening in _OPENINGS:
            if text and text != opening and opening.startswith(text):
                return self._spell(opening[len(text) :])
        tag = text[text.rfind("<") :] if "<" in text else ""
        if label := _CLOSED_LABEL.search(tag):
            return self._spell(label[1]) + self._spell(_closing(tag))
        if label := _OPEN_LABEL.search(tag):
            return self._rest_of_label(label[1], tag)
        if pair := _CLOSED_PAIR.search(tag):
            another = f'" x{int(pair[1]) + 1}="' if pair[1] else '" alt="'
            return self._spell(another)
        if _COUNTED.search(text):
            count = len(re.findall(r'\by\d*="', text))
            return self._spell(f" shows a total of {count}.")
        for pattern, following in _MARKUP:
            if found := pattern.search(tag):
                return self._spell(found.expand(following))
        return []

    def _rest_of_label(self, begun: str, tag: str) -> list[int]:
        """A label that begins like words of the question may go on like them."""
        pattern = re.compile(rf"(?<!\w){re.escape(begun)}{_LABEL_END}")
        found = next(filter(None, map(pattern.search, self._prompts)), None)
        if found is None:
            return []
        written, label = self._spell(begun), self._spell(found[0].rstrip())
        if label[: len(written)] != written:  # tokens that straddle where the answer stands
            return []
        return label[len(written) :] + self._spell('">') + label + self._spell(_closing(tag))

    def _spell(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids


def _closing(tag: str) -> str:
    return "</points>" if tag.startswith("<points") else "</point>"
