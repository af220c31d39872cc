"""Remembers how frames lay to each other, and says how they lay at one instant.

The rules are tf2's: between two samples positions go straight and rotations the shortest way,
outside of them nothing is known, and static transforms hold at all times. Knows nothing of ROS;
whoever feeds it may do so from another thread.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, insort
from dataclasses import dataclass, field
from operator import attrgetter

import numpy as np
import numpy.typing as npt

from molmo_ros import pose
from molmo_ros.planes import Array

NORM_TOLERANCE = 0.01  # of a quaternion: rounding to single precision errs by far less
LISTED = 12  # frames named in a message
NANO = 1e-9


class TransformError(LookupError):
    """How two frames lay to each other at that instant is not known."""


@dataclass(frozen=True, eq=False)
class Transform:
    """From one frame to another: p' = rotation @ p + translation, metres."""

    rotation: Array
    translation: Array

    def after(self, first: Transform) -> Transform:
        """The transform that does `first` and then this one."""
        return Transform(
            self.rotation @ first.rotation, self.rotation @ first.translation + self.translation
        )

    def inverse(self) -> Transform:
        return Transform(self.rotation.T, -self.rotation.T @ self.translation)


IDENTITY = Transform(np.eye(3), np.zeros(3))


@dataclass(frozen=True, eq=False)
class _Sample:
    """A child frame in its parent at one instant; (3,) metres and a unit quaternion (4,) xyzw."""

    stamp_ns: int
    translation: Array
    xyzw: Array

    def transform(self) -> Transform:
        return Transform(pose.rotation_matrix(self.xyzw), self.translation)


@dataclass(eq=False)
class _Edge:
    """What is known of one child frame: samples in the order of their stamps."""

    parent: str
    is_static: bool
    samples: list[_Sample] = field(default_factory=list)


class TransformBuffer:
    """A tree of frames over the last few seconds."""

    def __init__(self, length_s: float) -> None:
        self._length_ns = round(length_s / NANO)
        self._edges: dict[str, _Edge] = {}
        self._lock = threading.Lock()

    def put(
        self,
        parent: str,
        child: str,
        stamp_ns: int,
        translation: npt.ArrayLike,
        xyzw: npt.ArrayLike,
        *,
        is_static: bool = False,
    ) -> None:
        """Takes a sample; raises ValueError for one that is no transform between two frames."""
        sample = _checked(parent, child, stamp_ns, translation, xyzw)
        with self._lock:
            edge = self._edges.get(child)
            # What is known under another parent says nothing about this one.
            if edge is None or is_static or (edge.parent, edge.is_static) != (parent, False):
                edge = self._edges[child] = _Edge(parent, is_static)
            self._insert(edge.samples, sample)

    def lookup(self, target: str, source: str, stamp_ns: int) -> Transform:
        """The transform from source to target as it was at the stamp; raises TransformError."""
        with self._lock:
            up, down = self._path_up(source), self._path_up(target)
            shared = next((frame for frame in up if frame in down), None)
            if shared is None:
                raise TransformError(
                    f"'{source}' and '{target}' are not connected: '{source}' hangs on "
                    f"'{up[-1]}', '{target}' on '{down[-1]}'"
                )
            from_source = self._climb(up[: up.index(shared)], stamp_ns)
            from_target = self._climb(down[: down.index(shared)], stamp_ns)
        return from_target.inverse().after(from_source)

    def _insert(self, samples: list[_Sample], sample: _Sample) -> None:
        """Keeps the order and the length; one far in the past begins anew (a recording loops)."""
        if samples and sample.stamp_ns < samples[-1].stamp_ns - self._length_ns:
            samples.clear()
        place = bisect_left(samples, sample.stamp_ns, key=attrgetter("stamp_ns"))
        if place < len(samples) and samples[place].stamp_ns == sample.stamp_ns:
            samples[place] = sample
        else:
            insort(samples, sample, key=attrgetter("stamp_ns"))
        while samples[0].stamp_ns < samples[-1].stamp_ns - self._length_ns:
            del samples[0]

    def _path_up(self, frame: str) -> list[str]:
        """The frame, its parent and so on to the root."""
        if not any(frame == child or frame == edge.parent for child, edge in self._edges.items()):
            raise TransformError(f"frame '{frame}' is not known; {self._known()}")
        path = [frame]
        while (edge := self._edges.get(path[-1])) is not None:
            if edge.parent in path:
                loop = " > ".join((*path[path.index(edge.parent) :], edge.parent))
                raise TransformError(f"frames hang on each other in a loop: {loop}")
            path.append(edge.parent)
        return path

    def _climb(self, frames: list[str], stamp_ns: int) -> Transform:
        """From the first of these frames to the parent of the last."""
        whole = IDENTITY
        for frame in frames:
            whole = _at(frame, self._edges[frame], stamp_ns).after(whole)
        return whole

    def _known(self) -> str:
        names = sorted({*self._edges, *(edge.parent for edge in self._edges.values())})
        if not names:
            return "no transform has arrived at all"
        more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
        return "known are " + ", ".join(names[:LISTED]) + more


def _checked(
    parent: str, child: str, stamp_ns: int, translation: npt.ArrayLike, xyzw: npt.ArrayLike
) -> _Sample:
    if not parent or not child or parent == child:
        raise ValueError(f"a transform from '{child}' to '{parent}': wanted two different frames")
    t, q = np.asarray(translation, np.float64), np.asarray(xyzw, np.float64)
    norm = float(np.linalg.norm(q))
    if not abs(norm - 1) <= NORM_TOLERANCE:
        raise ValueError(
            f"the transform from '{child}' to '{parent}' has the quaternion {q.tolist()} of "
            f"length {norm:.3g}, wanted 1"
        )
    if not np.isfinite(t).all():
        raise ValueError(
            f"the transform from '{child}' to '{parent}' has the translation {t.tolist()}"
        )
    return _Sample(stamp_ns, t, q / norm)


def _at(child: str, edge: _Edge, stamp_ns: int) -> Transform:
    """From the child to its parent at an instant, between the samples around it."""
    samples = edge.samples
    if edge.is_static:
        return samples[-1].transform()
    place = bisect_left(samples, stamp_ns, key=attrgetter("stamp_ns"))
    if place < len(samples) and samples[place].stamp_ns == stamp_ns:
        return samples[place].transform()
    if place == 0:
        late_s = (samples[0].stamp_ns - stamp_ns) * NANO
        raise TransformError(
            f"'{child}' in '{edge.parent}' is known from {late_s:.3f} s after the image on"
        )
    if place == len(samples):
        early_s = (stamp_ns - samples[-1].stamp_ns) * NANO
        raise TransformError(
            f"'{child}' in '{edge.parent}' is known until {early_s:.3f} s before the image"
        )
    return _between(samples[place - 1], samples[place], stamp_ns)


def _between(before: _Sample, after: _Sample, stamp_ns: int) -> Transform:
    share = (stamp_ns - before.stamp_ns) / (after.stamp_ns - before.stamp_ns)
    translation = before.translation + share * (after.translation - before.translation)
    return Transform(pose.rotation_matrix(pose.slerp(before.xyzw, after.xyzw, share)), translation)
