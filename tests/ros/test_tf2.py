"""The thin file over tf2_ros, against a double with its names: the wheels have no tf2_ros.

What tf2 itself answers is not tested here.
"""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import pytest
from geometry_msgs.msg import TransformStamped

from molmo_ros.tf2 import Tf2Buffer
from molmo_ros.tf_buffer import TransformError


class TransformException(Exception):  # noqa: N818 - tf2's name
    pass


class Buffer:
    """Answers with the stamp that it was asked for, as a distance along x."""

    def __init__(self, cache_time=None, node=None) -> None:
        self.cache_time = cache_time

    def lookup_transform(self, target_frame, source_frame, time, timeout=None):
        if target_frame == "mars":
            raise TransformException('"mars" passed to lookupTransform does not exist')
        found = TransformStamped()
        found.transform.translation.x = float(time.nanoseconds)
        found.transform.rotation.z = found.transform.rotation.w = 0.5**0.5
        return found


class TransformListener:
    def __init__(self, buffer, node, *, spin_thread=False) -> None:
        assert not spin_thread, "the listener's node is spun already"


@pytest.fixture
def tf2_buffer(monkeypatch):
    double = ModuleType("tf2_ros")
    double.Buffer, double.TransformListener = Buffer, TransformListener
    double.TransformException = TransformException
    monkeypatch.setitem(sys.modules, "tf2_ros", double)
    return Tf2Buffer(node=None, length_s=10.0)


def test_rotation_and_translation_are_taken_over(tf2_buffer):
    found = tf2_buffer.lookup("base", "eye", 7)
    np.testing.assert_allclose(found.rotation, [[0, -1, 0], [1, 0, 0], [0, 0, 1]], atol=1e-12)
    assert found.translation.tolist() == [7.0, 0.0, 0.0]


def test_an_image_without_a_stamp_does_not_get_the_newest_transform(tf2_buffer):
    assert tf2_buffer.lookup("base", "eye", 0).translation[0] == 1.0  # to tf2 zero is "newest"


def test_what_tf2_does_not_know_it_says_in_its_own_words(tf2_buffer):
    with pytest.raises(TransformError, match="mars.*does not exist"):
        tf2_buffer.lookup("mars", "eye", 7)
