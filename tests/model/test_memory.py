"""Loading takes no more memory than the model and its largest shard."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench" / "load"
NOISE_GB = 0.01  # of the interpreter; the small model is 0.2 GB, and half of that in bfloat16


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
def test_memory_stays_below_the_model_and_one_shard():
    pytest.importorskip("torch", reason="needs torch to load a model")
    done = subprocess.run(
        [sys.executable, BENCH, "--gb", "0.2", "--json"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    for dtype in ("float32", "bfloat16"):
        # At least the model: all of its pages were looked at.
        assert found[f"model_gb_{dtype}"] <= found[f"peak_gb_{dtype}"] + NOISE_GB
        bound = found[f"model_gb_{dtype}"] + found["shard_gb"] + NOISE_GB
        assert found[f"peak_gb_{dtype}"] <= bound
