"""The cameras of the node: whose frames can be asked about, and who else is told of images."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import Lock
from typing import Any

from rclpy.node import Node

from molmo_ros.eyes import Eyes
from molmo_ros.listener import StreamListener
from molmo_ros.parameters import Parameters
from molmo_ros.statistics import CameraReport
from molmo_ros.streams import CameraStreams

Hook = Callable[[str, int, Any], None]


class Inputs:
    """All cameras; their subscriptions exist only between open and close."""

    def __init__(self, node: Node, cameras: tuple[str, ...], clock_s: Callable[[], float]) -> None:
        """cameras: their names; none for a single one. clock_s: the clock of the stamps."""
        self._node = node
        self._hooks: tuple[Hook, ...] = ()
        self._hooking = Lock()
        self._listener: StreamListener | None = None
        self._cameras = {
            name: CameraStreams(node, name, clock_s, partial(self._tell, name))
            for name in cameras or ("",)
        }

    @property
    def names(self) -> tuple[str, ...]:
        """Of the cameras, the first being the one that is meant without a name.

        A single camera that the parameter `cameras` does not name is called "".
        """
        return tuple(self._cameras)

    def eyes(self, name: str = "") -> Eyes:
        """Where the frames of a camera come from; of the first when no name is given."""
        return self._cameras[name or self.names[0]].eyes

    def report(self, name: str = "") -> CameraReport | None:
        """How the topics of a camera are doing; None while nothing listens."""
        return self._cameras[name or self.names[0]].report()

    def on_image(self, hook: Hook) -> Callable[[], None]:
        """Lets a function be called with (camera, stamp in nanoseconds, message) of each image.

        It is called in the thread that listens, after the mailbox has the image, and holds up
        all images while it runs. Returns what ends that; both may be called from any thread.
        """
        with self._hooking:
            self._hooks = (*self._hooks, hook)
        return partial(self._unhook, hook)

    def open(self, settings: Parameters) -> None:
        """Starts listening; what was seen before is forgotten.

        Raises what rclpy raises at qos_overrides that make no sense.
        """
        self._listener = StreamListener(self._node)
        try:
            for camera in self._cameras.values():
                for stream in camera.open(settings):
                    self._listener.follow(stream)
        except Exception:
            self.close()
            raise
        self._listener.start()

    def close(self) -> None:
        """Stops listening."""
        if self._listener is not None:
            self._listener.stop()
            self._listener = None
        for camera in self._cameras.values():
            camera.close()

    def _unhook(self, hook: Hook) -> None:
        with self._hooking:
            self._hooks = tuple(other for other in self._hooks if other is not hook)

    def _tell(self, camera: str, stamp_ns: int, message: Any) -> None:
        for hook in self._hooks:  # a tuple that changes by replacement
            try:
                hook(camera, stamp_ns, message)
            except Exception as error:  # whatever it is, images must go on arriving
                self._node.get_logger().error(
                    f"a hook on images failed: {type(error).__name__}: {error}",
                    throttle_duration_sec=5.0,
                )
