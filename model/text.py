"""Text to token ids and back: the chat prompt, the tokenizer files, text that streams.

Knows nothing of pictures: image tokens come as ids from image.py, and are put behind the BOS.

T tokens, N image tokens
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from molmo_model.config import ImageTokens, MolmoConfig

Ints = npt.NDArray[np.int64]
# No published Molmo has a BOS of its own: its end-of-text token stands first and last.
END_OF_TEXT = "<|endoftext|>"
TEMPLATE = " User: {prompt} Assistant:"

# How Qwen2 cuts text before byte pairs are merged; stated by its tokenizer, not by its files.
_QWEN2_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class TokenizerError(ValueError):
    """Tokenizer files that are missing, damaged or of another model."""


class PromptError(ValueError):
    """A question that cannot be asked."""


class Prompter:
    """Builds the token sequence of a question and reads answers back.

    special: ids of the image tokens; bos: the id before everything; stop_ids: ids that end an
    answer.
    """

    def __init__(self, tokenizer: Tokenizer, config: MolmoConfig) -> None:
        """Raises TokenizerError when the tokenizer's special tokens are not the model's."""
        self.tokenizer = tokenizer
        self.special = config.image_tokens
        special = self.special
        ids = (special.start, special.end, special.patch, special.column)
        for name, wanted in zip(ImageTokens.NAMES, ids, strict=True):
            if _special_id(tokenizer, name) != wanted:
                raise TokenizerError(
                    f"the tokenizer has {name} as {tokenizer.token_to_id(name)}, the model's "
                    f"config.json as {wanted}: the files belong to different models"
                )
        self.bos = _special_id(tokenizer, END_OF_TEXT)
        self.stop_ids = frozenset({self.bos})
        tokenizer.encode_special_tokens = True  # "<im_patch>" in a question is plain text

    def encode(
        self,
        prompt: str,
        image_tokens: Ints | None = None,
        earlier: Iterable[tuple[str, str]] = (),
        *,
        raw: bool = False,
    ) -> Ints:
        """A question as (T,) ids: BOS, image tokens (N,), and the text of the chat template.

        earlier: questions about the same picture with their answers, spelled as in training
        raw: the prompt stands as it is, without the template
        """
        if not prompt.strip():
            raise PromptError("the prompt is empty: ask something, like 'Point to the red cube.'")
        ids: list[int] = []
        for question, answer in earlier:
            ids += self._question_ids(question) + self.text_ids(f" {answer}") + [self.bos]
        ids += self.text_ids(prompt) if raw else self._question_ids(prompt)
        image = np.empty(0, np.int64) if image_tokens is None else image_tokens
        return np.concatenate([[self.bos], image, ids])

    def text_ids(self, text: str) -> list[int]:
        """The ids of a text as it is, without template and special tokens."""
        text = text.encode(errors="replace").decode()  # half a surrogate pair is no text
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of answer ids, without special tokens."""
        text: str = self.tokenizer.decode([int(i) for i in ids], skip_special_tokens=True)
        return text

    def _question_ids(self, prompt: str) -> list[int]:
        return self.text_ids(TEMPLATE.format(prompt=prompt))


def styled(question: str, style: str) -> str:
    """A question to be answered as in a data set of the training mixture, like "vqa2"."""
    return f"{style}: {question}"


def multiple_choice(question: str, options: Iterable[str], *, lettered: bool = True) -> str:
    """A question with its options: answered by a letter, or in the option's words without."""
    lines = [f"{chr(ord('A') + i)}: {o}" if lettered else o for i, o in enumerate(options)]
    return "\n".join([question, *lines, ""])


class TextStream:
    """Decodes ids one by one; a character spread over several tokens comes with the last of them.

    The pieces of `feed` and `finish` together are the decoded text of all ids.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        added = tokenizer.get_added_tokens_decoder()
        self._silent = {i for i, token in added.items() if token.special}
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, token_id: int) -> str:
        """The characters that this token completes, maybe none."""
        token = self._tokenizer.id_to_token(int(token_id))
        if token is None or token_id in self._silent:
            return ""
        return self._utf8.decode(_token_bytes(token))

    def finish(self) -> str:
        """What is left: U+FFFD when the text ends within a character."""
        return self._utf8.decode(b"", final=True)


def load_tokenizer(directory: str | Path) -> Tokenizer:
    """Reads tokenizer.json, or vocab.json, merges.txt and added_tokens.json as of 7B-D and 72B."""
    directory = Path(directory)
    whole, vocab = directory / "tokenizer.json", directory / "vocab.json"
    if not whole.exists() and not vocab.exists():
        raise TokenizerError(f"{directory}: has no tokenizer.json, and no vocab.json either")
    try:
        return Tokenizer.from_file(str(whole)) if whole.exists() else _from_vocabulary(directory)
    except Exception as error:  # the library raises nothing narrower
        raise TokenizerError(
            f"{directory}: its tokenizer files cannot be read: {error}"
        ) from error


def qwen2_tokenizer(pairs: models.BPE) -> Tokenizer:
    """Byte pairs behind Qwen2's way to cut a text: markup, words and single digits stand apart."""
    tokenizer = Tokenizer(pairs)
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_QWEN2_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _from_vocabulary(directory: Path) -> Tokenizer:
    tokenizer = qwen2_tokenizer(
        models.BPE.from_file(str(directory / "vocab.json"), str(directory / "merges.txt"))
    )
    added: dict[str, int] = json.loads((directory / "added_tokens.json").read_text())
    names = sorted(added, key=added.__getitem__)
    tokenizer.add_special_tokens([AddedToken(n, special=True, normalized=False) for n in names])
    moved = [name for name in names if tokenizer.token_to_id(name) != added[name]]
    if moved:
        raise TokenizerError(f"added_tokens.json does not follow vocab.json from {moved[0]} on")
    return tokenizer


def _special_id(tokenizer: Tokenizer, name: str) -> int:
    found: int | None = tokenizer.token_to_id(name)
    if found is None:
        raise TokenizerError(f"the tokenizer has no {name}: it is not that of a Molmo")
    return found


def _byte_of_character() -> dict[str, int]:
    """Byte-level vocabularies spell each byte as a printable character; this is their table."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    spelled = {chr(byte): byte for byte in printable}
    return spelled | {chr(256 + n): byte for n, byte in enumerate(others)}


_BYTES = _byte_of_character()


def _token_bytes(token: str) -> bytes:
    """The bytes that a token stands for; added tokens are spelled as they are."""
    if all(character in _BYTES for character in token):
        return bytes(_BYTES[character] for character in token)
    return token.encode()
