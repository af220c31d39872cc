"""Prompts and tokens: ids of the published tokenizers, special tokens, text that streams."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recipes import GOLDEN
from tiny import byte_tokenizer, config_for
from tokenizers import Tokenizer, models

from molmo_model.config import ImageTokens, MolmoConfig
from molmo_model.text import (
    END_OF_TEXT,
    Prompter,
    PromptError,
    TextStream,
    TokenizerError,
    load_tokenizer,
    multiple_choice,
    styled,
)

PROMPTS = json.loads((GOLDEN / "text" / "prompts.json").read_text())
PACKED = json.loads((GOLDEN / "text" / "packing.json").read_text())["cases"]
PUBLISHED = {"Molmo-7B-D-0924": "molmo-7b-d", "MolmoE-1B-0924": "molmoe-1b"}
TEXTS = ["naïve café — 你好 🙂", ' <point x="12.3" y="4.5" alt="a">a</point>', "a\n\n  b"]


@pytest.fixture(scope="module")
def small() -> Prompter:
    tokenizer = byte_tokenizer()
    return Prompter(tokenizer, config_for(tokenizer))


@pytest.fixture(scope="module")
def published(test_data) -> dict[str, Tokenizer]:
    """The published tokenizers, 7B-D from its vocabulary files."""
    folders = {name: test_data / "published" / folder for name, folder in PUBLISHED.items()}
    return {name: load_tokenizer(folder) for name, folder in folders.items()}


@pytest.mark.parametrize("model", PUBLISHED)
def test_prompts_have_the_published_ids(published, model):
    prompter = Prompter(published[model], config_for(published[model]))
    for case in PROMPTS["chat"]:
        assert prompter.text_ids(case["prompt"]) == case["ids"][model]
        if case["user"]:
            assert prompter.encode(case["user"]).tolist() == [prompter.bos, *case["ids"][model]]
    for case in PROMPTS["raw"]:
        assert prompter.text_ids(case["text"]) == case["ids"][model]


@pytest.mark.parametrize("model", PUBLISHED)
def test_special_and_stop_ids_are_the_published_ones(published, test_data, model):
    config = MolmoConfig.from_json(test_data / "published" / PUBLISHED[model] / "config.json")
    prompter = Prompter(published[model], config)
    special = prompter.special
    *ids, placeholder = PROMPTS["special"][model]
    assert [special.start, special.end, special.patch, special.column] == ids
    assert published[model].token_to_id("<|image|>") == placeholder
    assert prompter.bos == PROMPTS["eos"][model]
    assert prompter.stop_ids == {PROMPTS["eos"][model]}


@pytest.mark.parametrize("model", PUBLISHED)
def test_questions_about_a_picture_have_the_published_ids(published, model):
    prompter = Prompter(published[model], config_for(published[model]))
    ids = row_ids(f"{model}/inference")
    image = np.array(ids[1 : ids.index(prompter.text_ids(" User")[0])])
    assert prompter.encode("What is it?", image).tolist() == ids


@pytest.mark.parametrize("model", PUBLISHED)
def test_a_second_question_follows_the_first_as_in_training(published, model):
    prompter = Prompter(published[model], config_for(published[model]))
    first, second = prompter.encode("Hi"), prompter.encode("Bye", earlier=[("Hi", "Hello.")])
    row = row_ids(f"{model}/three_annotations")  # the conversation is its second annotation
    [start] = [i for i in range(len(row)) if row[i : i + len(first) - 1] == first[1:].tolist()]
    assert second.tolist() == [prompter.bos, *row[start : start + len(second) - 1]]
    after = row[start + len(second) - 1 :]
    assert after[: after.index(prompter.bos)] == prompter.text_ids(" Goodbye.")


@pytest.mark.parametrize(
    "case", PROMPTS["formatting"][:10], ids=lambda case: case["example"]["style"]
)
def test_styles_and_options_are_spelled_as_published(small, case):
    example = case["example"]
    style = {"eval_short_answer": "vqa2", "eval_multiple_choice": "a_okvqa_mc"}.get(
        example["style"], example["style"]
    )
    question = example.get("question", "Describe this image.")
    if "options" in example:
        question = multiple_choice(question, example["options"])
    elif "unlabelled_options" in example:
        question = multiple_choice(question, example["unlabelled_options"], lettered=False)
    prompt = example.get("prompt") or styled(question, style)
    answer = case["train_messages"][1].strip()
    assert small.decode(small.encode(prompt)) == case["inference_messages"][0]
    conversation = small.decode(small.encode("?", earlier=[(prompt, answer)]))
    assert conversation == "".join(case["train_messages"]) + " User: ? Assistant:"


def row_ids(name: str) -> list[int]:
    """A row of the published training preprocessor."""
    return [i for i, count in PACKED[name]["input_tokens"] for _ in range(count)]


@pytest.mark.parametrize("model", PUBLISHED)
@pytest.mark.parametrize("text", TEXTS)
def test_published_tokenizers_stream_what_they_decode(published, model, text):
    tokenizer = published[model]
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    stream = TextStream(tokenizer)
    assert "".join([stream.feed(i) for i in ids]) + stream.finish() == text


def test_image_tokens_stand_between_bos_and_text(small):
    ids = small.encode("Hi", np.array([small.special.start, small.special.patch]))
    assert ids.dtype == np.int64
    assert ids[:3].tolist() == [small.bos, small.special.start, small.special.patch]
    assert small.decode(ids[3:]) == " User: Hi Assistant:"


@pytest.mark.parametrize("prompt", ["", "  ", "\n\t"])
def test_an_empty_prompt_is_refused(small, prompt):
    with pytest.raises(PromptError, match="prompt is empty"):
        small.encode(prompt)


@pytest.mark.parametrize("name", [END_OF_TEXT, *ImageTokens.NAMES])
def test_a_question_cannot_contain_special_tokens(small, name):
    ids = small.encode(f"What is {name}?")
    assert ids[1:].max() < small.bos
    assert small.decode(ids[1:]) == f" User: What is {name}? Assistant:"


def test_a_broken_character_in_a_question_is_replaced(small):
    assert small.decode(small.encode("a\ud800b")) == " User: a?b Assistant:"


def test_braces_in_a_question_are_text(small):
    assert small.decode(small.encode("{prompt} {0}")) == " User: {prompt} {0} Assistant:"


@given(st.text())
def test_any_text_comes_back(small, text):
    assert small.decode(small.text_ids(text)) == text


@given(st.lists(st.integers(0, 300), max_size=40))
def test_streaming_any_ids_gives_what_decoding_gives(small, ids):
    stream = TextStream(small.tokenizer)
    pieces = [stream.feed(i) for i in ids]
    assert "".join(pieces) + stream.finish() == small.decode(ids)


def test_a_character_comes_whole_with_its_last_token(small):
    ids = small.text_ids("🙂")
    stream = TextStream(small.tokenizer)
    assert [stream.feed(i) for i in ids] == ["", "", "", "🙂"]


def test_a_tokenizer_of_another_model_is_refused(small):
    config = config_for(small.tokenizer)
    other = replace(config, decoder=replace(config.decoder, vocab_size=1000))
    with pytest.raises(TokenizerError, match=r"<im_start> as 257.*config\.json as 1000"):
        Prompter(small.tokenizer, other)


def test_a_tokenizer_without_image_tokens_is_refused(small):
    with pytest.raises(TokenizerError, match="no <im_start>"):
        Prompter(Tokenizer(models.BPE()), config_for(small.tokenizer))


def test_a_saved_tokenizer_loads(small, tmp_path):
    small.tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert load_tokenizer(tmp_path).get_vocab() == small.tokenizer.get_vocab()


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(TokenizerError, match=rf"{tmp_path}: has no tokenizer\.json"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"model": ')
    with pytest.raises(TokenizerError, match=f"{tmp_path}: its tokenizer files cannot be read"):
        load_tokenizer(tmp_path)


def test_added_tokens_that_do_not_follow_the_vocabulary_are_refused(tmp_path):
    (tmp_path / "vocab.json").write_text('{"a": 0, "b": 1}')
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    (tmp_path / "added_tokens.json").write_text('{"<im_start>": 7}')
    with pytest.raises(TokenizerError, match="does not follow vocab.json from <im_start>"):
        load_tokenizer(tmp_path)
