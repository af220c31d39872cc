"""AndroidControl: records unpacked once, four conversations about each screen."""

from __future__ import annotations

import gzip
import json
import struct

import pytest
from greys import png

from molmo_training.sources.catalog import open_set
from molmo_training.sources.columns import SchemaError
from molmo_training.sources.screens import write_action
from molmo_training.sources.tfrecord import read_examples


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def message(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def feature(values: list) -> bytes:
    if isinstance(values[0], int):
        return message(3, message(1, b"".join(map(varint, values))))
    if isinstance(values[0], float):
        return message(2, message(1, struct.pack(f"<{len(values)}f", *values)))
    return message(1, b"".join(message(1, value) for value in values))


def record(features: dict) -> bytes:
    """A tf.train.Example in its frame; the checksums are not looked at."""
    entries = [
        message(1, message(1, name.encode()) + message(2, feature(values)))
        for name, values in features.items()
    ]
    data = message(1, b"".join(entries))
    return struct.pack("<QI", len(data), 0) + data + bytes(4)


def episode(number: int, **changes) -> dict:
    actions = [
        {"action_type": "click", "x": 54, "y": 480},
        {"action_type": "scroll", "direction": "down"},
    ]
    return {
        "episode_id": [number],
        "goal": [b"Open the mail"],
        "screenshots": [png(10), png(20), png(30)],
        "screenshot_widths": [540, 540, 540],
        "screenshot_heights": [2400, 2400, 2400],
        "actions": [json.dumps(action).encode() for action in actions],
        "step_instructions": [b"Tap the letter", b"Go down"],
        "scores": [0.5],
    } | changes


@pytest.fixture
def recordings(tmp_path):
    def write(*episodes: dict):
        with gzip.open(tmp_path / "android_control-00000-of-00001", "wb") as file:
            file.write(b"".join(map(record, episodes)))
        (tmp_path / "splits.json").write_text('{"train": [300, 5], "test": [7]}')
        return tmp_path

    return write


def test_a_screen_is_asked_about_in_four_ways(recordings):
    records = open_set("android_control", recordings(episode(300), episode(7)))
    assert len(records) == 2  # nothing is done after the last screenshot
    assert [int(r.picture.load()[0, 0, 0]) for r in records] == [10, 20]
    assert {a.style for r in records for a in r.annotations} == {"android_control"}
    asked = [(a.turns[0].question, a.turns[0].answers) for a in records[0].annotations]
    assert asked == [
        ("low_level: Tap the letter", ("click 10.0, 20.0",)),
        ("high_level: Open the mail low_level: Tap the letter", ("click 10.0, 20.0",)),
        ("high_level: Open the mail", ("click 10.0, 20.0",)),
        (
            "high_level_cot: Open the mail",
            ("Plan: Tap the letter Action: click 10.0, 20.0",),
        ),
    ]


def test_records_are_unpacked_once(recordings):
    directory = recordings(episode(300), episode(7))
    open_set("android_control", directory)
    (directory / "android_control-00000-of-00001").unlink()
    (first, _) = open_set("android_control", directory, "test")
    assert (first.picture.load() == 10).all()


@pytest.mark.parametrize(
    ("action", "text"),
    [
        ({"action_type": "long_press", "x": 270, "y": 1}, "long_press 50.0, 0.0"),
        ({"action_type": "input_text", "text": "hello you"}, "input_text hello you"),
        ({"action_type": "open_app", "app_name": "Mail"}, "open_app Mail"),
        ({"action_type": "navigate_back"}, "navigate_back"),
    ],
)
def test_actions_are_words(action, text):
    assert write_action(action, 540, 2400) == text


def test_a_file_that_ends_early_is_told(recordings):
    directory = recordings(episode(300))
    file = directory / "android_control-00000-of-00001"
    whole = gzip.decompress(file.read_bytes())
    for length in (len(whole) - 2, 100, 5):
        file.write_bytes(gzip.compress(whole[:length]))
        with pytest.raises(SchemaError, match="ends within record 0; fetch it again"):
            open_set("android_control", directory)
    assert not (directory / "screens" / "steps.jsonl").exists()


def test_a_record_of_another_kind_is_told(tmp_path):
    path = tmp_path / "other"
    data = b"\x0a\xff no message"
    path.write_bytes(struct.pack("<QI", len(data), 0) + data + bytes(4))
    with (
        path.open("rb") as file,
        pytest.raises(SchemaError, match=r"other: record 0 is no tf\.train\.Example"),
    ):
        list(read_examples(file, path))


def test_an_episode_without_a_feature_is_told(recordings):
    lacking = episode(300)
    del lacking["goal"]
    with pytest.raises(SchemaError, match=r"not as published: KeyError: 'goal'\. Fetch it from"):
        open_set("android_control", recordings(lacking))


def test_an_empty_instruction_is_named_with_its_row(recordings):
    directory = recordings(episode(300, step_instructions=[b"Tap", b""]))
    with pytest.raises(
        SchemaError, match="android_control: row 1, column 'step': wants some text"
    ):
        list(open_set("android_control", directory))


def test_a_directory_without_records_says_what_belongs_there(tmp_path):
    (tmp_path / "splits.json").write_text('{"train": [1]}')
    with pytest.raises(SchemaError, match=r"android_control-\*: is not there\. Fetch it from"):
        open_set("android_control", tmp_path)
