"""Picks the frame that a question is about: the newest, complete and fresh.

Waits a little when there is none. Knows no topics; time comes from the clock it is given.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from molmo_ros.ending import Ended, Ending
from molmo_ros.frames import Frame
from molmo_ros.mailbox import Mailbox
from molmo_ros.parameters import Parameters

GLANCE_S = 0.02  # between two looks for a reason to stop waiting


@dataclass(frozen=True)
class Needs:
    """What a frame should have, because somebody publishes it."""

    depth: bool = False
    camera_info: bool = False


class Eyes:
    """Where frames come from."""

    def __init__(
        self,
        mailbox: Mailbox,
        needs: Callable[[], Needs],
        clock_s: Callable[[], float],
        obstacle: Callable[[], str] = str,
    ) -> None:
        """clock_s: the clock of the stamps, which need not be the wall's.

        obstacle: what is known to keep images away; empty when nothing is
        """
        self._mailbox = mailbox
        self._needs = needs
        self._clock_s = clock_s
        self._obstacle = obstacle

    @property
    def has_depth(self) -> bool:
        """Whether somebody publishes depth, so that a frame should have it."""
        return self._needs().depth

    def age_s(self, frame: Frame) -> float:
        """How long ago the image was taken; NaN when it carries no stamp."""
        return self._clock_s() - frame.stamp_s if frame.stamp_s else math.nan

    def look(self, parameters: Parameters, check: Callable[[], None]) -> Frame:
        """The newest fresh frame, without depth only if none comes within frame_wait_s.

        check is called while waiting and may raise to end it; ends with NO_FRAME or STALE_FRAME.
        """
        patience_s = monotonic() + parameters.frame_wait_s
        while True:
            check()
            needs = self._needs()
            frame = self._mailbox.newest(
                parameters.slop_s, need_depth=needs.depth, need_camera_info=needs.camera_info
            )
            if frame is not None and self._is_fresh(frame, parameters.max_frame_age_s):
                return frame
            if monotonic() >= patience_s:
                return self._make_do(parameters)
            self._mailbox.wait(GLANCE_S)

    def next(self, slop_s: float, after_s: float, timeout_s: float) -> Frame | None:
        """The newest frame with all it should have and a stamp after a moment, if one comes."""
        patience_s = monotonic() + timeout_s
        while True:
            needs = self._needs()
            frame = self._mailbox.newest(
                slop_s, need_depth=needs.depth, need_camera_info=needs.camera_info
            )
            if frame is not None and frame.stamp_s > after_s:
                return frame
            if monotonic() >= patience_s:
                return None
            self._mailbox.wait(GLANCE_S)

    def _make_do(self, parameters: Parameters) -> Frame:
        """A frame without what it needs, if it is fresh at least."""
        frame = self._mailbox.newest(parameters.slop_s)
        if frame is None:
            advice = self._obstacle() or (
                "remap `image`, check image_transport and that the camera runs (ros2 topic hz)"
            )
            raise Ended(Ending.NO_FRAME, f"no image has arrived: {advice}")
        if not self._is_fresh(frame, parameters.max_frame_age_s):
            raise Ended(Ending.STALE_FRAME, self._complaint(frame, parameters.max_frame_age_s))
        return frame

    def _is_fresh(self, frame: Frame, max_age_s: float) -> bool:
        """Whether the stamp is near enough to now; one from the future is as bad as an old one."""
        return max_age_s == 0 or abs(self.age_s(frame)) <= max_age_s

    def _complaint(self, frame: Frame, max_age_s: float) -> str:
        if frame.stamp_s == 0:
            return (
                "the images carry no stamp: let the camera driver set header.stamp, or set "
                "max_frame_age_s to 0 to take them as they arrive"
            )
        return (
            f"the newest image is {self.age_s(frame):.2f} s old, max_frame_age_s is "
            f"{max_age_s:g}: check the camera, the clocks, and use_sim_time when a simulation or "
            "a recording plays"
        )
