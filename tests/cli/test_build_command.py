"""`molmo build`: what it says, what it leaves in the bundle, and what it refuses."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from molmo_engine.bundle import Bundle

pytest.importorskip("tensorrt_rtx", reason="needs tensorrt_rtx to build")

SHIPPED = Path(__file__).parents[2] / "assets" / "molmo-tiny" / "bundle"


@pytest.fixture
def copy(tmp_path):
    return shutil.copytree(SHIPPED, tmp_path / "bundle")


def test_a_build_tells_its_memory_first_and_leaves_a_plan_for_each_graph(molmo, copy):
    status, out, error = molmo("build", copy, "--architecture", "SM89")
    assert status == 0, error
    plans = sorted(path.relative_to(copy).as_posix() for path in copy.rglob("*.plan"))
    assert [Path(plan).name.split("-")[0] for plan in plans] == ["decoder", "vision"]
    for plan in plans:
        assert out.index("GB of this machine's memory") < out.index(f"{plan}: ")
    Bundle.open(copy)  # still whole


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--architecture", "SM53"), "SM53"),
        (("--architecture", "SM89", "--weights", "floating"), "floating"),
        (("--architecture", "SM89", "--library", "cuda"), "cuda"),
    ],
)
def test_a_wrong_option_is_named_and_changes_nothing(molmo, copy, options, said):
    before = sorted(copy.rglob("*"))
    status, _, error = molmo("build", copy, *options)
    assert status != 0
    assert said in error
    assert sorted(copy.rglob("*")) == before
