"""cv_bridge, where it is installed: for colour encodings that our own table lacks.

Only colours: what an unknown depth encoding measures in, nobody says.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from molmo_ros.encodings import ConvertError


@cache
def is_installed() -> bool:
    """Whether there is a cv_bridge; importing it may still fail."""
    return find_spec("cv_bridge") is not None


def to_rgb(msg: Any) -> npt.NDArray[np.uint8]:
    """An Image of any encoding that cv_bridge knows: (H, W, 3) uint8, RGB."""
    try:
        from cv_bridge import CvBridge, CvBridgeError
    except (ImportError, AttributeError) as error:  # built for the other major NumPy
        raise ConvertError(
            f"the image came as '{msg.encoding}', which needs cv_bridge, and that cannot be "
            f"loaded ({error}). Repair it, or remap to a topic in rgb8 or bgr8"
        ) from error
    try:
        rgb = np.asarray(CvBridge().imgmsg_to_cv2(msg, "rgb8"))
    except (CvBridgeError, cv2.error, TypeError, ValueError, AttributeError) as error:
        raise ConvertError(
            f"the image came as '{msg.encoding}', and cv_bridge cannot read it: {error}"
        ) from error
    wanted = (msg.height, msg.width, 3)
    if rgb.shape != wanted or rgb.dtype != np.uint8:
        raise ConvertError(
            f"cv_bridge made {rgb.dtype} of shape {rgb.shape} of an image in '{msg.encoding}': "
            f"wanted uint8 of shape {wanted}. Remap to a topic in rgb8 or bgr8"
        )
    return rgb
