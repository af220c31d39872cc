"""Answers one question: takes a frame, lets the model speak, lifts its points into 3-D.

Runs in the worker. Knows no topics, no goals and no message types; whatever happens, it returns
a Reply, so that the next question can be answered.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from threading import Event
from time import monotonic

from molmo_engine.predictor import Predictor, PromptError
from molmo_engine.records import Answer, AskOptions, Done, PointFound, Token
from molmo_ros.convert import ConvertError
from molmo_ros.ending import Ended, Ending
from molmo_ros.eyes import Eyes
from molmo_ros.frames import Frame, View, open_frame
from molmo_ros.geometry import Location, Status
from molmo_ros.modes import Mode, phrase
from molmo_ros.parameters import Parameters
from molmo_ros.placing import Placement, Transforms, needs_transforms, place

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked, and when to give up. Times are time.monotonic() seconds.

    replaced: set when another question takes this one's place
    """

    request_id: str
    prompt: str
    mode: Mode = Mode.ANSWER
    camera: str = ""
    timeout_s: float
    is_cancelled: Callable[[], bool]
    asked_s: float = field(default_factory=monotonic)
    replaced: Event = field(default_factory=Event)

    def check(self) -> None:
        """Ends the question when it is cancelled or late."""
        if self.is_cancelled():
            raise Ended(Ending.CANCELED, "cancelled before the answer was complete")
        if self.replaced.is_set():
            raise Ended(Ending.REPLACED, "a newer question took the place of this one")
        if monotonic() - self.asked_s > self.timeout_s:
            raise Ended(Ending.TIMEOUT, f"no complete answer within {self.timeout_s:g} s")


@dataclass(frozen=True)
class Located:
    """A point that the model named, and where it is.

    frame: of the location's numbers; empty for the optical frame of the image
    """

    found: PointFound
    location: Location
    frame: str = ""


@dataclass
class Reply:
    """What is known of an answer; grows while the model speaks.

    answer:            the engine's own record, None unless the model came to its end
    wait_ms:           from the request to the start of inference
    geometry_ms:       lifting the points into 3-D, all together
    first_waypoint_ms: from the start of inference to the first located point
    total_ms:          from the request to the end
    """

    question: Question
    ending: Ending = Ending.OK
    message: str = ""
    frame: Frame | None = None
    view: View | None = None
    placement: Placement | None = None
    text: str = ""
    points: list[Located] = field(default_factory=list)
    answer: Answer | None = None
    wait_ms: float = math.nan
    geometry_ms: float = 0.0
    first_waypoint_ms: float = math.nan
    total_ms: float = math.nan

    def end(self, ending: Ending, message: str = "") -> None:
        self.ending = ending
        self.message = message
        self.total_ms = 1e3 * (monotonic() - self.question.asked_s)


Progress = Callable[[Reply], None]


def answer(
    question: Question,
    predictor: Predictor,
    eyes: Eyes,
    parameters: Parameters,
    on_progress: Progress,
    transforms: Transforms | None = None,
) -> Reply:
    """Answers a question about the newest frame; on_progress sees the reply grow.

    transforms: needed only where the parameters name a frame
    """
    reply = Reply(question)
    try:
        _look(reply, eyes, parameters, transforms)
        _listen(reply, predictor, parameters, on_progress)
        reply.end(*_verdict(reply))
    except Ended as ended:
        reply.end(ended.ending, str(ended))
    except ConvertError as error:
        reply.end(Ending.BAD_FRAME, str(error))
    except PromptError as error:
        reply.end(Ending.BAD_PROMPT, str(error))
    except Exception as error:  # an engine may raise anything, and must not take the node along
        log.exception("the engine failed on %r", question.prompt)
        reply.end(Ending.ENGINE_ERROR, f"{type(error).__name__}: {error}")
    return reply


def ended(question: Question, ending: Ending, message: str) -> Reply:
    """The reply to a question that was never asked."""
    reply = Reply(question)
    reply.end(ending, message)
    return reply


def _look(reply: Reply, eyes: Eyes, parameters: Parameters, transforms: Transforms | None) -> None:
    """Takes the frame of the question, opens it, and finds out where its camera was."""
    check = reply.question.check
    if needs_transforms(parameters):
        transforms.open(parameters.tf_buffer_s)
    reply.frame = eyes.look(parameters, check)
    reply.view = open_frame(reply.frame, rectified=parameters.rectified, errors=parameters.errors)
    reply.placement = place(reply.frame, eyes.has_depth, transforms, parameters, check)


def _verdict(reply: Reply) -> tuple[Ending, str]:
    """How a complete answer ends, and what its waypoints lack to be in the frame they should."""
    if not reply.points:
        return Ending.NO_POINT, ""
    return Ending.OK, "; ".join(reply.placement.notes)


def _listen(
    reply: Reply, predictor: Predictor, parameters: Parameters, on_progress: Progress
) -> None:
    """Collects text and points until the model is done or the question ends."""
    started_s = monotonic()
    reply.wait_ms = 1e3 * (started_s - reply.question.asked_s)
    prompt = phrase(reply.question.mode, reply.question.prompt)
    options = _options(reply.question.mode, parameters)
    with closing(predictor.stream(reply.view.rgb, prompt, options)) as events:
        for event in events:
            if isinstance(event, Done):
                _conclude(reply, event.answer)
            else:
                reply.question.check()
            if isinstance(event, Token):
                reply.text = (reply.text + event.text).lstrip()
            elif isinstance(event, PointFound):
                found_s = monotonic()
                reply.points.append(_located(event, reply, parameters))
                reply.geometry_ms += 1e3 * (monotonic() - found_s)
                if len(reply.points) == 1:
                    reply.first_waypoint_ms = 1e3 * (monotonic() - started_s)
            on_progress(reply)


def _options(mode: Mode, parameters: Parameters) -> AskOptions:
    return AskOptions(
        max_new_tokens=parameters.max_new_tokens,
        max_crops=parameters.max_crops or None,
        raw=mode == Mode.RAW,
    )


def _located(found: PointFound, reply: Reply, parameters: Parameters) -> Located:
    """A point in 3-D, out of use when the model itself is unsure of it."""
    location, frame = reply.placement.locate(reply.view, found.pixel)
    if location.status == Status.OK and found.confidence < parameters.min_confidence:
        location = replace(location, status=Status.LOW_CONFIDENCE)
    return Located(found, location, frame)


def _conclude(reply: Reply, answer: Answer) -> None:
    """Takes over what only the whole answer tells: its text and the final labels."""
    reply.answer = answer
    reply.text = answer.text
    reply.points = [
        replace(located, found=found)
        for located, found in zip(reply.points, answer.found, strict=True)
    ]
