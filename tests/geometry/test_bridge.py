"""Encodings outside our table; a module of cv_bridge's shape stands in for it."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from molmo_ros import bridge
from molmo_ros.convert import ConvertError, to_depth_m, to_rgb


@pytest.fixture
def cv_bridge(monkeypatch):
    """Whatever imgmsg_to_cv2 is set to answers."""
    module = ModuleType("cv_bridge")
    module.CvBridgeError = type("CvBridgeError", (TypeError,), {})
    module.CvBridge = lambda: SimpleNamespace(imgmsg_to_cv2=module.imgmsg_to_cv2)
    monkeypatch.setitem(sys.modules, "cv_bridge", module)
    monkeypatch.setattr(bridge, "is_installed", lambda: True)
    return module


def message(encoding):
    return SimpleNamespace(
        encoding=encoding, height=2, width=3, step=9, is_bigendian=0, data=b"\0" * 18
    )


def test_an_encoding_outside_the_table_goes_to_cv_bridge(cv_bridge):
    asked = []
    rgb = np.full((2, 3, 3), 7, np.uint8)
    cv_bridge.imgmsg_to_cv2 = lambda msg, encoding: asked.append(encoding) or rgb
    np.testing.assert_array_equal(to_rgb(message("yuv444")), rgb)
    assert asked == ["rgb8"]


@pytest.mark.parametrize("made", [np.zeros((2, 3), np.uint8), np.zeros((2, 3, 3), np.float32)])
def test_what_cv_bridge_makes_is_checked(cv_bridge, made):
    cv_bridge.imgmsg_to_cv2 = lambda msg, encoding: made
    with pytest.raises(ConvertError, match=r"'yuv444': wanted uint8 of shape \(2, 3, 3\)"):
        to_rgb(message("yuv444"))


def test_what_cv_bridge_refuses_is_refused_by_name(cv_bridge):
    def refuse(msg, encoding):
        raise cv_bridge.CvBridgeError("[yuv444] is not a color format")

    cv_bridge.imgmsg_to_cv2 = refuse
    with pytest.raises(ConvertError, match="cv_bridge cannot read it: .yuv444. is not"):
        to_rgb(message("yuv444"))


def test_a_cv_bridge_that_does_not_load_is_named(cv_bridge):
    del cv_bridge.CvBridge
    with pytest.raises(ConvertError, match="needs cv_bridge.*cannot be loaded"):
        to_rgb(message("yuv444"))


@pytest.mark.parametrize(("read", "encoding"), [(to_rgb, "32FC1"), (to_depth_m, "mono16")])
def test_depth_is_never_left_to_cv_bridge(cv_bridge, read, encoding):
    cv_bridge.imgmsg_to_cv2 = lambda *_: pytest.fail("asked")
    with pytest.raises(ConvertError, match=f"'{encoding}': supported"):
        read(message(encoding))
