"""A model that says what it is told to, and eyes that have seen what they are told to."""

from __future__ import annotations

from array import array

from sensor_msgs.msg import Image

from molmo_ros.eyes import Eyes, Needs
from molmo_ros.mailbox import Mailbox

NOW_S = 100.0


class Scripted:
    """Says what it is told to; an exception in the script is raised."""

    def __init__(self, script=()) -> None:
        self._script = script
        self.closed = False

    def stream(self, rgb, prompt, options):
        try:
            for event in self._script:
                if isinstance(event, Exception):
                    raise event
                yield event
        finally:
            self.closed = True


def eyes(*ages_s: float, needs: Needs = Needs()) -> Eyes:  # noqa: B008 - frozen
    """Eyes that have seen black images of these ages."""
    mailbox = Mailbox()
    for age_s in ages_s:
        image = Image(height=4, width=6, encoding="rgb8", step=18, data=array("B", bytes(72)))
        mailbox.put_image(round((NOW_S - age_s) * 1e9), image)
    return Eyes(mailbox, lambda: needs, lambda: NOW_S)
