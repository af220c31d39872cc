"""The node's own geometry on scenes of known truth, seen by a clean and by a stereo camera."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench" / "geometry"


@pytest.fixture(scope="module")
def measured():
    command = [sys.executable, BENCH, "--sim", "-n", "15", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_waypoints_are_on_the_true_surface(measured):
    assert measured["median_mm_clean"] <= 1.0
    assert measured["median_mm_noisy"] <= 2.0  # half as much as one noisy depth pixel
    assert measured["normals_deg_median"] <= 5.0
    assert measured["without_waypoint"] < 0.1


def test_the_ellipsoid_holds_the_truth_about_as_often_as_it_claims(measured):
    assert measured["n"] > 200  # so that 90 % is known to 2 %
    assert 0.84 <= measured["ellipsoid_90_coverage"] <= 0.96
