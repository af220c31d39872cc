"""The ways to ask: from what a program names ("the mug handle") to the words the model reads.

Knows nothing of ROS but the numbers of Answer.msg, and nothing of pictures.
"""

from __future__ import annotations

import re
from enum import IntEnum


class Mode(IntEnum):
    """The mode numbers of Answer.msg (MODE_*)."""

    ANSWER = 0
    POINT = 1
    COUNT = 2
    DESCRIBE = 3
    RAW = 4


MODES = tuple(mode.name.lower() for mode in Mode)  # as parameters spell them

DESCRIPTION = "Describe this image."
# A whole sentence is asked as it stands, in any mode; a name ends in no mark.
_SENTENCE = re.compile(r"[.?!]\s*$")


def phrase(mode: Mode, prompt: str) -> str:
    """What the model is asked: names become a request, whole sentences stay as they are."""
    if mode == Mode.DESCRIBE and not prompt.strip():
        return DESCRIPTION
    if mode in (Mode.ANSWER, Mode.RAW) or not prompt.strip() or _SENTENCE.search(prompt):
        return prompt
    named = prompt.strip()
    if mode == Mode.POINT:
        return f"Point to {named}."
    if mode == Mode.COUNT:
        return f"How many {named} are there?"
    return f"Describe {named}."
