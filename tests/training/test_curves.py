"""Pictures of runs: what TensorBoard keeps of a run that was interrupted, drawn as an SVG."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytest.importorskip("tensorboard", reason="needs tensorboard for curves")

from torch.utils.tensorboard import SummaryWriter

SCRIPT = Path(__file__).parents[2] / "bench" / "loss_curve"
SVG = "{http://www.w3.org/2000/svg}"


def write_run(run: Path, losses: list[float], start: int = 0) -> Path:
    with SummaryWriter(run / "tensorboard", purge_step=start) as board:
        for step, loss in enumerate(losses, start):
            board.add_scalar("loss", loss, step)
    return run


def loss_curve(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_each_run_is_a_curve_with_its_name(tmp_path):
    tiny, full = (
        write_run(tmp_path / name, losses)
        for name, losses in (("tiny", [8.0, 4.0, 2.0, 1.0]), ("full & whole", [8.0, 2.0]))
    )
    done = loss_curve(tiny, full, tmp_path / "loss.svg")
    assert done.returncode == 0, done.stderr
    assert "tiny: 4 steps, loss 1.000 at the end" in done.stdout
    picture = ElementTree.parse(tmp_path / "loss.svg").getroot()
    assert {"tiny", "full & whole", "step", "loss"} <= {
        text.text for text in picture.iter(f"{SVG}text")
    }
    first, second = (
        [tuple(map(float, pair.split(","))) for pair in line.get("points").split()]
        for line in picture.iter(f"{SVG}polyline")
    )
    assert len(first) == 4 and len(second) == 2
    assert first[0] == second[0]  # both begin with the same loss
    heights = [below - above for (_, above), (_, below) in zip(first, first[1:], strict=False)]
    assert heights == pytest.approx([heights[0]] * 3, abs=0.2)  # halved each time, in 0.1 pixels


def test_a_run_that_was_interrupted_is_drawn_as_it_went_on(tmp_path):
    write_run(tmp_path / "run", [8.0, 4.0, 100.0, 100.0])
    write_run(tmp_path / "run", [2.0, 1.0, 0.5], start=2)
    done = loss_curve(tmp_path / "run", tmp_path / "loss.svg")
    assert "run: 5 steps, loss 0.500 at the end" in done.stdout
    ticks = [text.text for text in ElementTree.parse(tmp_path / "loss.svg").iter(f"{SVG}text")]
    assert "100" not in ticks


def test_what_is_not_there_is_named(tmp_path):
    done = loss_curve(tmp_path, tmp_path / "loss.svg")
    assert done.returncode == 1
    assert "tensorboard: is not there" in done.stderr
    done = loss_curve(write_run(tmp_path, [1.0]), tmp_path / "loss.svg", "--tag", "lose")
    assert "no 'lose' in it; there are: loss" in done.stderr
    assert not (tmp_path / "loss.svg").exists()
