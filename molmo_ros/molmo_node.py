"""The lifecycle node: looks through a camera, answers questions, names waypoints.

It wires its parts together and follows the lifecycle; what can be wrong is in the parts. The
engine is loaded, asked and freed in one worker thread, the callbacks stay short.
"""

from __future__ import annotations

import math
import sys
from dataclasses import replace

import rclpy
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn

from molmo_engine.predictor import Predictor
from molmo_ros import messages, parameters
from molmo_ros.asking import Progress, Question, Reply
from molmo_ros.background import Handover
from molmo_ros.checkup import Checkup
from molmo_ros.desk import Desk, Turn
from molmo_ros.diagnostics import publish_diagnostics
from molmo_ros.ending import Ending
from molmo_ros.goals import Calls, Goals, Prompts, Request, Rest, problem
from molmo_ros.heap import keep_freed_pictures
from molmo_ros.inputs import Inputs
from molmo_ros.lifecycle import SafeLifecycleNode
from molmo_ros.loading import open_predictor
from molmo_ros.msg import Answer
from molmo_ros.outputs import Outputs
from molmo_ros.parameters import ParameterError, Parameters
from molmo_ros.placing import needs_transforms
from molmo_ros.pursuit import Carried, Pursuits
from molmo_ros.serving import serve_until, start
from molmo_ros.standing import StandingQuestion
from molmo_ros.tally import Tally
from molmo_ros.transforms import Transforms
from molmo_ros.worker import Worker

# In the background, made when they are needed: every question holds one (at most 17: one is
# answered, 16 wait), a transition another, and some are left to refuse further questions.
THREADS = 24

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class MolmoNode(SafeLifecycleNode):
    """configure loads the bundle, activate answers, deactivate stops, cleanup frees."""

    def __init__(self) -> None:
        super().__init__("molmo", THREADS)
        parameters.declare(self)
        settings = parameters.read(self)
        self._worker = Worker()
        self._predictor: Predictor | None = None
        self._identity = ("", "")
        self._is_active = False
        self._is_closing = False
        self._inputs = Inputs(self, settings.cameras, self._now_s)
        self._transforms = Transforms(self)
        self._outputs = Outputs(self)
        self._desk = Desk(self._worker, self._settings, self._inputs.eyes, self._transforms)
        self._pursuits = Pursuits(
            self._inputs.eyes,
            self._settings,
            self._transforms,
            self._outputs.is_tracking_heard,
            self._publish_tracked,
        )
        self._standing = StandingQuestion(
            self._ask_standing, self._settings, lambda: self._inputs.names
        )
        self._tally = Tally()
        Goals(self, settings.action_name, self.background, self._refusal, self.ask, self._age_s)
        Calls(self, self.background, self._refusal, self.ask)
        Prompts(self, self._standing.wake)
        checkup = Checkup(
            inputs=self._inputs,
            transforms=self._transforms,
            worker=self._worker,
            tally=self._tally,
            settings=self._settings,
            identity=lambda: self._identity,
        )
        publish_diagnostics(self, "molmo_ros", checkup.checks())
        if settings.autostart:
            self.start_by_itself()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        settings = self._settings()
        try:
            self._predictor = self._worker.call(lambda: open_predictor(settings))
        except Exception as error:  # a bundle can be wrong in many ways; the node must live on
            self.get_logger().error(f"cannot configure: {str(error) or type(error).__name__}")
            return FAILURE
        self._identity = (self._predictor.model_id, self._predictor.engine_id)
        self._outputs.announce(self._predictor, settings.bundle, self._inputs.names)
        self.get_logger().info("{} is ready on {}".format(*self._identity))
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        if self._is_closing:  # a signal came while autostart was loading
            return FAILURE
        settings = self._settings()
        try:
            self._inputs.open(settings)
        except Exception as error:  # rclpy has many for qos_overrides that make no sense
            self.get_logger().error(f"cannot activate: {str(error) or type(error).__name__}")
            return FAILURE
        if needs_transforms(settings):  # from now on: those of the first image must be known
            self._transforms.open(settings.tf_buffer_s)
        self._desk.open(self._predictor)
        self._is_active = True
        self._standing.start()
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._halt()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._free()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._halt()
        self._free()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.get_logger().error("a transition failed: back to unconfigured")
        return self.on_shutdown(state)

    def ask(self, question: Question, on_progress: Progress, result: Handover[Answer]) -> Rest:
        """Begins to answer one question; what it returns blocks until all is done.

        result: gets the answer before it is published: who asked comes first
        """
        answers: list[Answer] = []

        def on_reply(reply: Reply) -> None:
            answers.append(self._complete(reply))
            result.give(answers[0])

        named = self._named(question)
        turn = self._desk.begin(named, on_progress, on_reply)

        def rest() -> None:
            reply = self._follow(named.camera, turn)
            result.let_take()
            if reply.ending != Ending.BUSY:
                self._outputs.publish(reply, answers[0])

        return rest

    def _ask_standing(self, question: Question) -> Reply:
        """Answers the standing question; when it had to give way, nobody is told."""
        named = self._named(question)
        reply = self._follow(named.camera, self._desk.begin(named, is_standing=True))
        if reply.ending not in (Ending.BUSY, Ending.CANCELED, Ending.REPLACED):
            self._outputs.publish(reply, self._complete(reply))
        return reply

    def _named(self, question: Question) -> Question:
        """The question with the name of its camera."""
        return replace(question, camera=question.camera or self._inputs.names[0])

    def _follow(self, camera: str, turn: Turn) -> Reply:
        """Waits for a reply, and begins to track what it names."""
        pursuit = self._pursuits.of(camera)
        with pursuit.question():
            reply = self._desk.wait(turn)
            pursuit.follow(reply)
        self._tally.note(reply)
        return reply

    def _publish_tracked(self, carried: Carried) -> None:
        age_s = self._inputs.eyes().age_s(carried.answered)
        self._outputs.publish_tracked(
            messages.tracked(carried.reply, carried.confidences, age_s, *self._identity)
        )

    def close(self) -> None:
        """Ends the running question and the worker; the node is not used afterwards."""
        self._is_closing = True
        self._halt()
        self._free()
        self._worker.close()
        self.background.close()

    def _complete(self, reply: Reply) -> Answer:
        """The message of a finished reply, and a line in the log when something is wrong."""
        if reply.message:
            self.get_logger().warning(f"{reply.ending.name}: {reply.message}")
        elif reply.points and reply.view.notes:
            self.get_logger().warning(
                "depth or intrinsics: " + "; ".join(reply.view.notes), throttle_duration_sec=5.0
            )
        return messages.answer(reply, self._age_s(reply), *self._identity)

    def _refusal(self, request: Request) -> str:
        """Why a request is not taken, empty when it is."""
        if not self._is_active:
            return "the node is not active: configure and activate it (ros2 lifecycle set)"
        return problem(request, self._inputs.names)

    def _halt(self) -> None:
        """Takes no more questions and ends the running one, between two tokens at the latest."""
        self._is_active = False
        self._desk.close()
        self._standing.stop()
        self._pursuits.stop()
        self._inputs.close()
        self._transforms.close()

    def _free(self) -> None:
        if self._predictor is not None:
            self._worker.call(self._predictor.close)
            self._predictor, self._identity = None, ("", "")

    def _age_s(self, reply: Reply) -> float:
        return self._inputs.eyes().age_s(reply.frame) if reply.frame else math.nan

    def _settings(self) -> Parameters:
        return parameters.read(self)

    def _now_s(self) -> float:
        return self.get_clock().now().nanoseconds * 1e-9


def main(args: list[str] | None = None) -> int:
    """Runs the node until SIGINT or SIGTERM; 1 when its parameters are wrong."""
    keep_freed_pictures()
    signalled = start(args)
    try:
        serve_until(signalled, MolmoNode())
        return 0
    except ParameterError as error:
        rclpy.logging.get_logger("molmo").fatal(f"cannot start: {error}")
        return 1
    finally:
        rclpy.try_shutdown()


if __name__ == "__main__":
    sys.exit(main())
