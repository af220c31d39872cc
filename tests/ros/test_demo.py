"""The demo as a newcomer runs it: a process that shows everything and ends by itself."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from robot import domain

from molmo_ros.bags import COMPRESSED
from molmo_ros.cell.recording import Recording

RUN = "from molmo_cli.main import main; main()"
LIMIT_S = 150  # a loaded machine; it takes seconds on an idle one
MISS = re.compile(r"; ([\d.]+) mm from the true surface of the ([a-z ]+),")


@dataclass
class Run:
    status: int
    text: str
    complaint: str
    pictures: list[Path]

    @property
    def answers(self):
        """By question, the words that were streamed."""
        lines = self.text.splitlines()
        return {
            line.removeprefix("> "): lines[number + 1].strip()
            for number, line in enumerate(lines)
            if line.startswith("> ")
        }

    @property
    def misses_mm(self):
        return [float(distance) for distance, _ in MISS.findall(self.text)]


def run(output, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", RUN, "demo", "--output", str(output), *arguments],
        env={**os.environ, "ROS_DOMAIN_ID": domain()},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    return Run(done.returncode, done.stdout, done.stderr, sorted(output.glob("*.png")))


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    return run(tmp_path_factory.mktemp("usual"))


def test_the_demo_asks_three_questions_and_ends_well(usual):
    assert usual.status == 0, usual.complaint
    assert [prompt.split()[0] for prompt in usual.answers] == ["Point", "How", "Describe"]
    assert len(usual.pictures) == 3
    assert {cv2.imread(str(picture)).shape for picture in usual.pictures} == {(480, 640, 3)}


def test_what_it_points_to_is_there(usual):
    first = usual.text.split("\n> ")[1]
    name = re.search(r"Point to the ([a-z ]+)\.", first)[1]
    assert [found for _, found in MISS.findall(first)] == [name]
    assert usual.misses_mm[0] < 20


def test_another_table_gives_other_answers_to_the_same_question(usual, tmp_path):
    question = "Describe the table."
    other = run(tmp_path, "--seed", "4", "--prompt", question)
    assert other.status == 0, other.complaint
    assert list(other.answers) == [question]
    assert other.answers[question] != usual.answers[question]


def test_a_model_that_cannot_be_loaded_is_named_and_the_status_is_1(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    failed = run(tmp_path / "output", "--bundle", str(empty))
    assert failed.status == 1
    assert str(empty) in failed.complaint and "manifest.json" in failed.complaint
    assert "Traceback" not in failed.complaint


def test_a_recording_plays_through_the_same_node(tmp_path, test_data):
    bag = test_data / "bags" / "mosd_tabletop"
    played = run(tmp_path, "--bag", str(bag))
    assert played.status == 0, played.complaint
    assert len(played.answers) == 3
    recorded = [
        cv2.imdecode(np.frombuffer(record.cdr[record.cdr.index(b"\xff\xd8") :], np.uint8), 1)
        for record in Recording(bag).records
        if record.kind == COMPRESSED
    ]
    for picture in played.pictures:  # a recorded frame with a few points drawn in
        shown = cv2.imread(str(picture)).astype(float)
        assert min(np.abs(shown - frame).mean() for frame in recorded) < 8
