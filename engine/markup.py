"""Keeps point markup well-formed: of all tokens, the likeliest that may stand here.

Text outside tags is free; what begins with `<` becomes a whole `<point ...>` or `<points ...>`
with coordinates of one decimal between 0 and 100, numbered from 1, and a label. Knows no engine.

V vocabulary
"""

from __future__ import annotations

import re

import numpy as np
from tokenizers import Tokenizer

from molmo_engine.runtime import Floats
from molmo_model.text import TextStream

_NUMBER = re.compile(r"100\.0|[0-9]{1,2}\.[0-9]")
_BEGUN_NUMBER = re.compile(r"100\.?|[0-9]{1,2}\.?")
_LABEL = re.compile(r'[^"<>]+')


class Markup:
    """The markup of one answer; told every token that was chosen."""

    def __init__(self, tokenizer: Tokenizer, stop: frozenset[int]) -> None:
        self._stop = stop
        self._characters = TextStream(tokenizer)
        self._open = ""  # the tag that the text is in, from its "<"

    def choose(self, logits: Floats) -> int:
        """The likeliest token (V,) that leaves the text well-formed, or that it can become so."""
        first = int(logits.argmax())
        if self._allows(first):
            return first
        order = (int(token) for token in np.argsort(-logits))
        return next(filter(self._allows, order), first)

    def add(self, token: int) -> None:
        """The token that was chosen."""
        self._open = _after(self._open, self._spell(token)) or ""

    def _allows(self, token: int) -> bool:
        if token in self._stop:
            return not self._open
        piece = self._spell(token)
        return bool(piece) and _after(self._open, piece) is not None

    def _spell(self, token: int) -> str:
        """The token's characters; half a character is U+FFFD, which only a label may have."""
        return self._characters.feed(token) + self._characters.finish()


class _ShortError(Exception):
    """The text ends within the tag."""


class _WrongError(Exception):
    """The text is not the beginning of a tag."""


def _after(tag: str, piece: str) -> str | None:
    """The open tag when the text goes on like this, "" outside tags; None = not well-formed."""
    for character in piece:
        if not tag and character != "<":
            continue
        tag += character
        try:
            _read_tag(_Reader(tag))
        except _WrongError:
            return None
        except _ShortError:
            continue
        tag = ""
    return tag


def _read_tag(reader: _Reader) -> None:
    """The grammar: one point, or several that are numbered."""
    reader.literal("<point")
    if reader.choice(" s") == " ":
        reader.pair("")
        reader.literal('" alt="')
        end = "</point>"
    else:
        reader.literal(" ")
        number = 1
        reader.pair("1")
        reader.literal('" ')
        while reader.choice("xa") == "x":
            number += 1
            reader.back()
            reader.pair(str(number))
            reader.literal('" ')
        reader.literal('lt="')
        end = "</points>"
    reader.label()
    reader.literal('">')
    reader.label()
    reader.literal(end)


class _Reader:
    """Reads a tag from its beginning; raises _ShortError where it ends, _WrongError if it errs."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def literal(self, wanted: str) -> None:
        found = self._text[self._at : self._at + len(wanted)]
        if not wanted.startswith(found):
            raise _WrongError
        self._at += len(found)
        if len(found) < len(wanted):
            raise _ShortError

    def choice(self, characters: str) -> str:
        if self._at == len(self._text):
            raise _ShortError
        found = self._text[self._at]
        if found not in characters:
            raise _WrongError
        self._at += 1
        return found

    def back(self) -> None:
        self._at -= 1

    def pair(self, number: str) -> None:
        for axis in (f'x{number}="', f'" y{number}="'):
            self.literal(axis)
            self._match(_NUMBER, _BEGUN_NUMBER)

    def label(self) -> None:
        self._match(_LABEL, _LABEL)
        if self._at == len(self._text):
            raise _ShortError  # a label may always go on

    def _match(self, whole: re.Pattern[str], begun: re.Pattern[str]) -> None:
        found = whole.match(self._text, self._at)
        if found:
            self._at = found.end()
        elif self._at == len(self._text) or begun.fullmatch(self._text, self._at):
            raise _ShortError
        else:
            raise _WrongError
