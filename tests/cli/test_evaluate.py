"""`molmo eval`: figures as one JSON object, the same for the same seed."""

from __future__ import annotations

import json

import pytest
from tiny import save_checkpoint

pytest.importorskip("torch", reason="needs torch for a checkpoint")
pytest.importorskip("mujoco", reason="needs mujoco for the scenes")


def test_figures_are_shares_and_depend_on_nothing_but_model_and_seed(molmo, tmp_path):
    save_checkpoint(tmp_path)
    arguments = ("eval", tmp_path, "scenes", "-n", 1, "--seed", 7, "--json")
    status, out, _ = molmo(*arguments)
    assert status == 0
    figures = json.loads(out)
    assert figures["n"] == 1
    for share in ("within5", "inside", "count", "none"):
        assert 0 <= figures[share] <= 1
    assert json.loads(molmo(*arguments)[1]) == figures


def test_figures_are_also_printed_for_people(molmo, tmp_path):
    save_checkpoint(tmp_path)
    status, out, _ = molmo("eval", tmp_path, "scenes", "-n", 1)
    assert status == 0
    assert {"within5", "inside", "count", "none", "n"} <= {
        line.split()[0] for line in out.splitlines()
    }
