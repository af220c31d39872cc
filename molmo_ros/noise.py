"""What to expect of the errors of a depth camera and of a model that points.

Standard deviations as somebody declares them; nothing is measured here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, kw_only=True)
class DepthNoise:
    """The noise of one depth pixel: floor_m + growth * z ** exponent, z in metres."""

    floor_m: float
    growth: float
    exponent: int

    def sigma_m(self, depth_m: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """One standard deviation in metres; NaN where depth is."""
        z = np.asarray(depth_m, np.float64)
        return np.asarray(self.floor_m + self.growth * z**self.exponent, np.float64)


# Stereo and structured light err by a constant share of a pixel of disparity, so in depth by its
# square: 2 mm at 1 m is what both Kinect and RealSense show; half a millimetre is rounding.
STEREO = DepthNoise(floor_m=0.0005, growth=0.002, exponent=2)
# Time of flight measures a phase, by light that gets weaker with the square of distance; its shot
# noise makes the error grow with distance itself. Millimetres at a few metres are what Kinect v2
# and Azure Kinect repeat (their makers promise 17 mm as the worst case). Flying pixels at edges
# and what bright surroundings add are no noise of a pixel, and not in here.
TIME_OF_FLIGHT = DepthNoise(floor_m=0.0005, growth=0.001, exponent=1)
KINDS = {"stereo": STEREO, "tof": TIME_OF_FLIGHT}


@dataclass(frozen=True, kw_only=True)
class Errors:
    """One standard deviation of what goes into a waypoint.

    pixel_sigma_percent: of a model's pixel, along u and along v, in percent of the picture's width
        because a model looks at pictures of one size. The default is three pixels of 640;
        Molmo-tiny's is 0.44 (bench/calibration). The last digit of a coordinate (0.1) is a tenth
        of it; the rest is where on a thing a model points.
    depth:               of one depth pixel
    """

    pixel_sigma_percent: float = 0.47
    depth: DepthNoise = STEREO
