"""Loads the bundle that the parameters name, and warms up all that the first question needs.

Runs in the worker, whose thread owns the engine. Knows no topics.
"""

from __future__ import annotations

import os

import numpy as np

from molmo_engine import load
from molmo_engine.predictor import Predictor
from molmo_engine.records import AskOptions
from molmo_ros.camera import Camera
from molmo_ros.frames import View
from molmo_ros.parameters import ParameterError, Parameters


def open_predictor(settings: Parameters) -> Predictor:
    """Loads the bundle; one token and one point, so that the first question is not slow."""
    if not settings.bundle:
        raise ParameterError(
            "the parameter 'bundle' is empty: set it to a bundle directory "
            "(`molmo export CHECKPOINT BUNDLE` makes one)"
        )
    threads = settings.threads or max(1, len(os.sched_getaffinity(0)) - 1)
    predictor = load(settings.bundle, settings.backend, threads)
    height, width = 480, 640
    k = np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1]])
    view = View(
        np.zeros((height, width, 3), np.uint8),
        np.ones((height, width), np.float32),
        Camera(width, height, k, np.zeros(0), "", ""),
    )
    predictor.ask(view.rgb, "Describe the image.", AskOptions(max_new_tokens=1))
    view.locate((width / 2, height / 2))
    return predictor
