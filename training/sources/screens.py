"""AndroidControl: what a person does next on a phone, from the record files of its authors.

The files are compressed as a whole, so that no screenshot can be read alone: they are unpacked
once, into pictures and a table beside them.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from molmo_training.records import Annotation, Record, Turn
from molmo_training.sources.columns import PATH, TEXT, Row
from molmo_training.sources.folders import Folder
from molmo_training.sources.source import Source
from molmo_training.sources.tfrecord import read_examples

STYLE = "android_control"


def write_action(action: Mapping[str, Any], width: int, height: int) -> str:
    """An action as the model is to answer it; places in percent of the screen."""
    kind = str(action["action_type"])
    if "x" in action:
        return f"{kind} {action['x'] / width * 100:.1f}, {action['y'] / height * 100:.1f}"
    told = [str(action[name]) for name in ("text", "app_name", "direction") if name in action]
    return " ".join([kind, *told])


def unpack(directory: Path) -> None:
    """Writes screens/EPISODE_STEP.png and screens/steps.jsonl; the latter last, and whole."""
    table = directory / "screens" / "steps.jsonl"
    files = sorted(directory.glob("android_control*"))
    if not files:
        raise FileNotFoundError(2, "no records", str(directory / "android_control-*"))
    table.parent.mkdir(exist_ok=True)
    part = table.with_suffix(".part")
    with part.open("w") as out:
        for file in files:
            with gzip.open(file) as records:
                for episode in read_examples(records, file):
                    for row in _steps(episode, table.parent):
                        out.write(json.dumps(row) + "\n")
    part.replace(table)


def _steps(episode: Mapping[str, Sequence[Any]], folder: Path) -> Iterator[Row]:
    """One row per action; the last screenshot, after which nothing is done, is left out."""
    number = int(episode["episode_id"][0])
    steps = zip(
        episode["actions"],
        episode["step_instructions"],
        episode["screenshots"],
        episode["screenshot_widths"],
        episode["screenshot_heights"],
        strict=False,
    )
    for step, (action, instruction, screenshot, width, height) in enumerate(steps):
        name = f"{number}_{step}.png"
        (folder / name).write_bytes(screenshot)
        yield {
            "episode": number,
            "screen": name,
            "goal": episode["goal"][0].decode(),
            "step": instruction.decode(),
            "action": write_action(json.loads(action), width, height),
        }


def _rows(directory: Path, split: str) -> Iterator[Row]:
    episodes = set(json.loads((directory / "splits.json").read_text())[split])
    table = directory / "screens" / "steps.jsonl"
    if not table.exists():
        unpack(directory)
    with table.open() as lines:
        for line in lines:
            row = json.loads(line)
            if row["episode"] in episodes:
                yield row | {"image": str(table.parent / row["screen"])}


def _record(rows: Sequence[Row]) -> Record:
    """Four conversations about a screen: told the step, told both, told the goal, and planning."""
    row = rows[0]
    goal, step, action = row["goal"], row["step"], row["action"]
    asked = (
        (f"low_level: {step}", action),
        (f"high_level: {goal} low_level: {step}", action),
        (f"high_level: {goal}", action),
        (f"high_level_cot: {goal}", f"Plan: {step} Action: {action}"),
    )
    return Record(
        row["image"],
        tuple(Annotation(STYLE, (Turn(question=q, answers=(a,)),)) for q, a in asked),
    )


SCREENS: dict[str, Source] = {
    "android_control": Source(
        place=Folder(
            "android_control",
            "github.com/google-research/google-research/tree/master/android_control",
            "splits.json and the record files android_control-*",
            _rows,
        ),
        columns={"image": PATH, "goal": TEXT, "step": TEXT, "action": TEXT},
        record=_record,
    )
}
