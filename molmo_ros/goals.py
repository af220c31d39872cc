"""The ways to ask: the action `~/ask`, the service `~/ask_sync`, the standing question's prompt.

Requests in; streamed feedback, exactly one terminal state and always an answer out. Knows nothing
of cameras and engines: a function that it is given answers the questions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from time import monotonic, sleep
from uuid import uuid4

from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_msgs.msg import String

from molmo_ros import messages
from molmo_ros.action import Ask
from molmo_ros.asking import Progress, Question, Reply, ended
from molmo_ros.background import Background, Handover
from molmo_ros.ending import Ending
from molmo_ros.modes import Mode
from molmo_ros.msg import Answer
from molmo_ros.srv import Ask as AskSync

FEEDBACK_PERIOD_S = 0.03  # the first waypoint does not wait
HEAD_START_S = 0.002  # of the worker before the executor
RESULT_KEPT_S = 10  # how long a client may come back for its result

Request = Ask.Goal | AskSync.Request  # their fields are the same
Refusal = Callable[[Request], str]
Rest = Callable[[], None]
Asker = Callable[[Question, Progress, Handover[Answer]], Rest]


class Goals:
    """Serves the action on top of a function that answers questions."""

    def __init__(
        self,
        node: Node,
        name: str,
        background: Background,
        refusal: Refusal,
        ask: Asker,
        age_s: Callable[[Reply], float],
    ) -> None:
        """name: of the action; refusal: why a goal is not taken, empty to take it.

        ask: begins to answer, and gives the answer once; what it returns blocks until all is done
        age_s: age of a reply's frame
        """
        self._log = node.get_logger()
        self._refusal = refusal
        self._ask = ask
        self._age_s = age_s
        self._background = background
        self._answers: dict[bytes, Handover[Answer]] = {}
        self._server = ActionServer(
            node,
            Ask,
            name,
            self._execute,
            callback_group=ReentrantCallbackGroup(),
            goal_callback=self._decide,
            handle_accepted_callback=self._begin,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
            result_timeout=RESULT_KEPT_S,
        )

    def _decide(self, goal: Ask.Goal) -> GoalResponse:
        if reason := self._refusal(goal):
            self._log.warning(f"goal rejected: {reason}")
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    def _begin(self, handle: ServerGoalHandle) -> None:
        """Begins to answer at once: it takes the executor a while to come to the execution.

        And stands back for a moment. The worker needs the interpreter, too, until the engine runs.
        """
        question = Question(
            request_id=handle.request.request_id or bytes(handle.goal_id.uuid).hex(),
            prompt=handle.request.prompt,
            mode=Mode(handle.request.mode),
            camera=handle.request.camera,
            timeout_s=handle.request.timeout_s,
            is_cancelled=lambda: handle.is_cancel_requested,
        )
        feedback = Feedback(handle.publish_feedback, self._age_s)
        answer = self._answers[bytes(handle.goal_id.uuid)] = self._background.handover()
        self._background.start(self._ask(question, feedback, answer), answer)
        sleep(HEAD_START_S)
        handle.execute()

    async def _execute(self, handle: ServerGoalHandle) -> Ask.Result:
        answer = await self._answers.pop(bytes(handle.goal_id.uuid)).take()
        _terminate(handle, answer.status)
        return Ask.Result(answer=answer)


class Calls:
    """Serves the service: no feedback, no cancel; a refusal is an answer with a message."""

    def __init__(self, node: Node, background: Background, refusal: Refusal, ask: Asker) -> None:
        self._background = background
        self._refusal = refusal
        self._ask = ask
        group = ReentrantCallbackGroup()
        node.create_service(AskSync, "~/ask_sync", self._on_call, callback_group=group)

    async def _on_call(
        self, request: AskSync.Request, response: AskSync.Response
    ) -> AskSync.Response:
        question = Question(
            request_id=request.request_id or uuid4().hex,
            prompt=request.prompt,
            mode=Mode.ANSWER,
            camera=request.camera,
            timeout_s=request.timeout_s,
            is_cancelled=lambda: False,
        )
        if reason := self._refusal(request):
            reply = ended(question, Ending.CANCELED, reason)
            response.answer = messages.answer(reply, math.nan, "", "")
        else:
            asked = replace(question, mode=Mode(request.mode))
            answer = self._background.handover()
            self._background.start(self._ask(asked, lambda reply: None, answer), answer)
            response.answer = await answer.take()
        return response


class Prompts:
    """Hears the standing question, as a plain string; keeps it in the parameter `prompt`."""

    def __init__(self, node: Node, on_prompt: Callable[[], None]) -> None:
        """on_prompt: called when a prompt has come."""
        self._node = node
        self._on_prompt = on_prompt
        node.create_subscription(String, "~/prompt", self._keep, 1)

    def _keep(self, message: String) -> None:
        self._node.set_parameters([Parameter("prompt", value=message.data)])
        self._on_prompt()


def problem(request: Request, cameras: tuple[str, ...]) -> str:
    """What is wrong with the fields of a request, empty when nothing is.

    cameras: whose images can be asked about; one empty name for a single camera
    """
    if not (math.isfinite(request.timeout_s) and request.timeout_s >= 0):
        return f"timeout_s is {request.timeout_s}, wanted 0 (the default) or seconds above 0"
    if request.mode not in set(Mode):
        return f"mode is {request.mode}, wanted one of Answer.MODE_*: 0 to {max(Mode)}"
    if request.camera and request.camera not in cameras:
        known = f"there are {', '.join(cameras)}" if any(cameras) else "there is a single one"
        return f"there is no camera '{request.camera}': {known}; empty means the first"
    return ""


def _terminate(handle: ServerGoalHandle, status: int) -> None:
    """Ends a goal as its answer ended."""
    if status in (Ending.OK, Ending.NO_POINT):
        handle.succeed()
    elif status == Ending.CANCELED and handle.is_cancel_requested:
        handle.canceled()
    else:  # deactivation cancels, too, but only a client's request may end in CANCELED
        handle.abort()


class Feedback:
    """Tells a client what is new in a reply: the first waypoint at once, all else now and then.

    What is new at the end is told by the result.
    """

    def __init__(
        self, publish: Callable[[Ask.Feedback], None], age_s: Callable[[Reply], float]
    ) -> None:
        self._publish = publish
        self._age_s = age_s
        self._told = ""
        self._points = 0
        self._due_s = 0.0

    def __call__(self, reply: Reply) -> None:
        if reply.text == self._told and len(reply.points) == self._points:
            return
        is_first_point = bool(reply.points) and not self._points
        if reply.answer is not None or (monotonic() < self._due_s and not is_first_point):
            return
        feedback = Ask.Feedback(
            text=reply.text,
            delta=reply.text[len(self._told) :],
            waypoints=messages.waypoints(reply, self._age_s(reply)),
        )
        self._told, self._points = reply.text, len(reply.points)
        self._due_s = monotonic() + FEEDBACK_PERIOD_S
        self._publish(feedback)
