"""Checkpoints on disk: each whole or not there."""

from __future__ import annotations

import logging

import pytest

from molmo_training.checkpoints import BEST, LAST, Checkpoints
from molmo_training.distributed import Worker


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path, Worker())


def filled(text):
    def fill(directory):
        (directory / "state").mkdir()
        (directory / "state" / "text").write_text(text)

    return fill


def cut_short(directory):
    filled("half")(directory)
    raise OSError(28, "No space left on device")


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def test_the_newest_is_the_last_whole_one(checkpoints, tmp_path):
    assert checkpoints.newest() is None
    checkpoints.write(9, filled("nine"))
    checkpoints.write(10, filled("ten"))
    (tmp_path / "step-0000011.part").mkdir()
    assert checkpoints.newest() == tmp_path / "step-0000010"
    assert (tmp_path / LAST / "state" / "text").read_text() == "ten"


def test_the_last_and_the_best_are_kept(checkpoints, tmp_path):
    for step in (1, 2, 3, 4):
        checkpoints.write(step, filled(str(step)), is_best=step == 2)
    assert names(tmp_path) == [BEST, LAST, "step-0000002", "step-0000004"]
    assert (tmp_path / BEST / "state" / "text").read_text() == "2"


def test_what_is_cut_short_leaves_the_one_before(checkpoints, tmp_path, caplog):
    checkpoints.write(1, filled("one"))
    with caplog.at_level(logging.ERROR):
        assert not checkpoints.write(2, cut_short)
    assert "step 2: no checkpoint" in caplog.text
    assert "No space left on device" in caplog.text
    assert names(tmp_path) == [LAST, "step-0000001"]
    assert checkpoints.write(2, filled("two"))
    assert (tmp_path / LAST / "state" / "text").read_text() == "two"


def test_leftovers_of_a_kill_are_no_part_of_the_next(checkpoints, tmp_path):
    part = tmp_path / "step-0000003.part"
    part.mkdir()
    (part / "old").write_text("of a run that was killed")
    checkpoints.write(3, filled("three"))
    assert names(tmp_path / "step-0000003") == ["state"]


def test_a_step_is_written_again_when_it_is_trained_again(checkpoints, tmp_path):
    checkpoints.write(3, filled("first"))
    checkpoints.write(3, filled("second"), is_best=True)
    assert (tmp_path / BEST / "state" / "text").read_text() == "second"
