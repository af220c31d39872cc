"""The software: Python and its packages, ROS 2 and what carries its messages."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from molmo_cli.findings import Finding

# Import names and what pip calls them.
NEEDED = {
    "numpy": ("numpy",),
    "cv2": ("opencv-python-headless", "opencv-python", "opencv-contrib-python"),
    "PIL": ("pillow",),
    "tokenizers": ("tokenizers",),
    "safetensors": ("safetensors",),
}
OPTIONAL = {
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "tensorrt": ("tensorrt",),
    "tensorrt_rtx": ("tensorrt_rtx",),
    "cuda": ("cuda-bindings", "cuda-python"),
    "torch": ("torch",),
    "onnx": ("onnx",),
    "mujoco": ("mujoco",),
}
FAST_DDS = "rmw_fastrtps_cpp"
PROFILES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")


def look_at_software() -> list[Finding]:
    """Python, and the packages that any part of us may use."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    installed = {**NEEDED, **OPTIONAL}
    versions = [
        f"{name} {_version(names)}" for name, names in installed.items() if find_spec(name)
    ]
    return [
        Finding("Python", f"{platform.python_version()}, molmo_ros {_version(('molmo_ros',))}"),
        Finding(
            "packages",
            ", ".join(versions) + (f"; missing: {', '.join(missing)}" if missing else ""),
            "pip install molmo_ros, or rosdep install --from-paths ." if missing else "",
            fails=bool(missing),
        ),
    ]


def look_at_ros(environment: Mapping[str, str] = os.environ) -> list[Finding]:
    """Nothing here fails: asking pictures needs no ROS."""
    distribution = environment.get("ROS_DISTRO")
    if not _is_there("rclpy"):
        return [Finding("ROS 2", "not there", "to run the node: source your ROS 2 installation")]
    found = f"{distribution or 'wheels'}, domain {environment.get('ROS_DOMAIN_ID', '0')}"
    if not _is_there("molmo_ros.msg"):
        advice = "build molmo_ros in a workspace and source its install/setup.bash"
        return [Finding("ROS 2", f"{found}; our messages are not built", advice)]
    return [Finding("ROS 2", found), _transport(environment)]


def _transport(environment: Mapping[str, str]) -> Finding:
    """Fast DDS drops raw pictures unless its profile gives them room."""
    middleware = environment.get("RMW_IMPLEMENTATION", FAST_DDS)
    if middleware != FAST_DDS:
        return Finding("DDS", middleware)
    advice = f"export {PROFILES[0]}=.../config/fastdds_big_shm.xml: raw pictures get lost without"
    named = next((environment[name] for name in PROFILES if environment.get(name)), None)
    if named is None:
        return Finding("DDS", f"{middleware}, no profile", advice)
    if not Path(named).is_file():
        return Finding("DDS", f"{middleware}, the profile {named} does not exist", advice)
    return Finding("DDS", f"{middleware}, profile {named}")


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its package is missing
        return False


def _version(names: tuple[str, ...]) -> str:
    """Of the first that pip knows."""
    for name in names:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "of unknown version"
