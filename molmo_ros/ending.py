"""How a question can end."""

from enum import IntEnum


class Ending(IntEnum):
    """The status numbers of Answer.msg."""

    OK = 0
    NO_POINT = 1
    NO_FRAME = 2
    STALE_FRAME = 3
    BAD_FRAME = 4
    CANCELED = 5
    TIMEOUT = 6
    ENGINE_ERROR = 7
    BAD_PROMPT = 8
    BUSY = 9
    REPLACED = 10


class Ended(Exception):  # noqa: N818 - it is not an error: it carries how a question ended
    """Ends a question early; caught where the question is answered, and nowhere else."""

    def __init__(self, ending: Ending, message: str) -> None:
        super().__init__(message)
        self.ending = ending
