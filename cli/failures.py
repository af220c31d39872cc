"""What a failure says to who sits at the command line: one sentence, with what to do."""

from __future__ import annotations

# The extra of setup that brings a missing package.
EXTRAS = {
    "torch": "train",
    "huggingface_hub": "train",
    "datasets": "train",
    "httpx2": "train",
    "peft": "train",
    "scipy": "train",
    "onnxruntime": "cpu",
    "onnx": "export",
    "onnxscript": "export",
    "mujoco": "sim",
    "rosbags": "bags",
}
INTERFACES = ("molmo_ros.msg", "molmo_ros.srv", "molmo_ros.action")


def sentence(error: Exception) -> str | None:
    """What to say; None for a bug, which keeps its traceback.

    Expected is what the operating system refuses, what our own classes say, and missing packages.
    """
    if isinstance(error, ImportError):
        return _missing(error)
    is_ours = type(error).__module__.startswith("molmo_")
    return str(error) if is_ours or isinstance(error, OSError) else None


def _missing(error: ImportError) -> str | None:
    """What to install; an import that fails for another reason is a bug."""
    if error.name is None:  # ours: it says already what to do
        return str(error)
    package = error.name.split(".")[0]
    if package in EXTRAS:
        return f"this needs {package}: pip install 'molmo_ros[{EXTRAS[package]}]'"
    if package == "rclpy" or package.endswith("_msgs") or error.name in INTERFACES:
        return (
            f"this needs ROS 2, and {error.name} is not there: "
            "run scripts/setup, or source your installation and build molmo_ros in a workspace"
        )
    return None
