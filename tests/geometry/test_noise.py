import numpy as np
import pytest
from surfaces import CAMERA, wall

from molmo_ros.geometry import Status, locate
from molmo_ros.noise import KINDS, STEREO, TIME_OF_FLIGHT, DepthNoise

MIDDLE = (320.0, 240.0)


def test_stereo_grows_with_the_square_and_time_of_flight_with_distance():
    np.testing.assert_allclose(STEREO.sigma_m([1.0, 2.0]), [0.0025, 0.0085])
    np.testing.assert_allclose(TIME_OF_FLIGHT.sigma_m([1.0, 2.0]), [0.0015, 0.0025])
    assert np.isnan(STEREO.sigma_m(np.nan))


def test_the_kinds_are_those_of_the_parameter():
    assert KINDS == {"stereo": STEREO, "tof": TIME_OF_FLIGHT}


@pytest.mark.parametrize("distance_m", [1.0, 3.0])
def test_the_declared_noise_decides_what_a_smooth_wall_is_trusted(distance_m):
    declared = {name: noise.sigma_m(distance_m) for name, noise in KINDS.items()}
    claimed = {
        name: locate(MIDDLE, wall(distance_m), CAMERA, noise=noise).covariance[2, 2] ** 0.5
        for name, noise in KINDS.items()
    }
    expected = float(declared["stereo"] / declared["tof"])
    assert claimed["stereo"] / claimed["tof"] == pytest.approx(expected, rel=1e-3)


def test_a_surface_rougher_than_the_declared_noise_is_one_only_for_a_rougher_camera():
    depth = wall(1.0) + np.random.default_rng(0).normal(0, 0.02, (480, 640)).astype(np.float32)
    rough = DepthNoise(floor_m=0.02, growth=0.0, exponent=1)
    found = locate(MIDDLE, depth, CAMERA, noise=rough)
    assert found.position[2] == pytest.approx(1.0, abs=0.015)  # of the 2 cm of one pixel
    assert not found.depth_bimodal
    assert locate(MIDDLE, depth, CAMERA, noise=TIME_OF_FLIGHT).status == Status.NO_DEPTH
