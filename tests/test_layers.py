"""Who may import whom: each folder only the layers below it, each heavy dependency in its home.

The sources are read, not run; the last tests run them with torch out of reach.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = {"model", "engine", "training", "sim", "cli", "molmo_ros"}
TORCH_FREE = (
    "config",
    "image",
    "pictures",
    "points",
    "published",
    "resize",
    "retry_after",
    "text",
)
TORCH_FREE_MODEL = {f"molmo_model.{name}" for name in TORCH_FREE}
BASE = {"numpy", "cv2", "PIL", "tokenizers", "safetensors"}
TORCH_FREE_ENGINE = BASE | TORCH_FREE_MODEL | {"molmo_engine"}
ROS = {"rclpy", "*_msgs", "*_interfaces", "tf2_ros", "message_filters", "diagnostic_updater"}
ROS_TOOLS = {"cv_bridge", "ament_index_python", "rosbags", "pytransform3d", "yaml"}


@dataclass(frozen=True)
class Layer:
    """Files, and the modules they may import beside the standard library; all as patterns."""

    files: tuple[str, ...]
    may: set[str]
    never: tuple[str, ...] = ()  # of what `may` lets through
    lazily: frozenset[str] = frozenset()  # inside functions only


# The first layer that names a file decides.
LAYERS = (
    Layer(("cli/*",), {"typer", "rich", "click", "molmo_cli"}, lazily=frozenset({"*"})),
    Layer(("model/__init__.py", "training/__init__.py", "sim/__init__.py"), set()),
    Layer(("engine/__init__.py",), set(), lazily=frozenset(TORCH_FREE_ENGINE)),
    Layer(
        tuple(f"model/{name}.py" for name in TORCH_FREE),
        (BASE - {"safetensors"}) | TORCH_FREE_MODEL,
    ),
    Layer(("model/*",), BASE | {"torch", "molmo_model"}),
    Layer(
        ("training/*",),
        BASE
        | {"molmo_training", "molmo_model", "molmo_sim", "torch", "datasets", "transformers"}
        | {"huggingface_hub", "httpx2", "tensorboard", "scipy", "rich", "peft"},
    ),
    Layer(
        ("engine/export*", "engine/verify*"),
        TORCH_FREE_ENGINE | {"molmo_model", "torch", "onnx", "onnxscript"},
    ),
    Layer(
        ("engine/build*", "engine/trt_*"),
        TORCH_FREE_ENGINE | {"tensorrt", "tensorrt_rtx", "cuda"},
        never=("molmo_engine.export*", "molmo_engine.verify*"),
    ),
    Layer(
        ("engine/ort_*",),
        TORCH_FREE_ENGINE | {"onnxruntime"},
        never=("molmo_engine.export*", "molmo_engine.verify*"),
    ),
    Layer(
        ("engine/*",), TORCH_FREE_ENGINE, never=("molmo_engine.export*", "molmo_engine.verify*")
    ),
    Layer(("sim/*",), {"numpy", "cv2", "PIL", "mujoco", "molmo_sim"}),
    Layer(
        ("molmo_ros/cell/*",),
        ROS | ROS_TOOLS | {"numpy", "cv2", "molmo_ros", "molmo_engine", "molmo_sim"},
        never=("molmo_engine.export*", "molmo_engine.verify*", "molmo_engine.build*"),
    ),
    Layer(
        ("molmo_ros/*",),
        ROS | ROS_TOOLS | {"numpy", "cv2", "molmo_ros", "molmo_engine"},
        never=("molmo_engine.export*", "molmo_engine.verify*", "molmo_ros.cell"),
    ),
)
SOURCES = sorted(
    str(path.relative_to(ROOT)) for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")
)


def imports(tree: ast.AST, in_function: bool = False) -> Iterator[tuple[str, bool]]:
    """(module.name, inside a function) of every import; those for types alone are left out."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, in_function) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "import our own modules by their full names"
            yield from ((f"{node.module}.{alias.name}", in_function) for alias in node.names)
        elif not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from imports(node, in_function or is_function)


def matches(name: str, patterns: set[str] | frozenset[str] | tuple[str, ...]) -> bool:
    return any(fnmatch(name, pattern) or fnmatch(name, pattern + ".*") for pattern in patterns)


def forbidden(path: str, source: str) -> list[str]:
    """The imports of a file that its layer does not allow."""
    layer = next(one for one in LAYERS if any(fnmatch(path, glob) for glob in one.files))
    return [
        name
        for name, in_function in imports(ast.parse(source))
        if name.split(".")[0] not in sys.stdlib_module_names
        and (
            not matches(name, layer.may | (layer.lazily if in_function else frozenset()))
            or matches(name, layer.never)
        )
    ]


@pytest.mark.parametrize("path", SOURCES)
def test_file_imports_only_what_its_layer_allows(path):
    assert forbidden(path, (ROOT / path).read_text()) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("model/points.py", "import torch"),
        ("model/text.py", "from molmo_model.vision import Vit"),
        ("model/vision.py", "from molmo_engine import load"),
        ("training/train.py", "import rclpy"),
        ("engine/predictor.py", "if True:\n    from torch import nn"),
        ("engine/predictor.py", "def f():\n    import molmo_model.vision"),
        ("engine/predictor.py", "from molmo_engine.export import export_bundle"),
        ("engine/predictor.py", "import onnxruntime"),
        ("engine/ort_runtime.py", "import tensorrt_rtx"),
        ("engine/export_graph.py", "import molmo_training.train"),
        ("sim/scene.py", "import molmo_model"),
        ("molmo_ros/molmo_node.py", "from molmo_model.points import Point"),
        ("molmo_ros/molmo_node.py", "import molmo_sim.scene"),
        ("molmo_ros/geometry.py", "import molmo_ros.cell.camera"),
        ("cli/ask.py", "import numpy"),
        ("engine/__init__.py", "from molmo_engine.predictor import Predictor"),
    ],
)
def test_the_rules_refuse(path, source):
    assert forbidden(path, source)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("engine/export.py", "import torch"),
        ("engine/predictor.py", "from molmo_model.points import Point"),
        ("molmo_ros/cell/camera.py", "from molmo_sim.scene import sample_scene"),
        ("molmo_ros/outputs.py", "from geometry_msgs.msg import PoseArray"),
        ("cli/ask.py", "def f():\n    import numpy, torch"),
    ],
)
def test_the_rules_allow(path, source):
    assert forbidden(path, source) == []


def run_blocked(blocked: tuple[str, ...], modules: list[str]) -> subprocess.CompletedProcess[str]:
    """Imports modules in a fresh interpreter in which some packages cannot be imported."""
    code = f"""
import importlib, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked}:
            raise ImportError(name + " is out of reach here")
sys.meta_path.insert(0, Blocker())
for module in {modules}:
    importlib.import_module(module)
"""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def modules_of(folder: str, package: str, but: tuple[str, ...] = ()) -> list[str]:
    paths = [path.relative_to(ROOT / folder) for path in (ROOT / folder).rglob("*.py")]
    kept = [path for path in paths if not any(fnmatch(path.name, pattern) for pattern in but)]
    names = [".".join((package, *path.with_suffix("").parts)) for path in sorted(kept)]
    return [name.removesuffix(".__init__") for name in names]


def test_the_engine_runs_without_torch_and_ros():
    runtime = modules_of("engine", "molmo_engine", but=("export*", "verify*", "build*", "trt_*"))
    done = run_blocked(("torch", "rclpy", "onnx"), [*sorted(TORCH_FREE_MODEL), *runtime])
    assert done.returncode == 0, done.stderr


def test_the_nodes_run_without_torch():
    pytest.importorskip("rclpy", reason="no ROS 2 here")
    pytest.importorskip("molmo_ros.msg", reason="the interfaces are not built")
    done = run_blocked(("torch", "molmo_training"), modules_of("molmo_ros", "molmo_ros"))
    assert done.returncode == 0, done.stderr


def test_a_client_needs_no_engine():
    pytest.importorskip("rclpy", reason="no ROS 2 here")
    pytest.importorskip("molmo_ros.msg", reason="the interfaces are not built")
    done = run_blocked(("torch", "molmo_engine", "molmo_model"), ["molmo_ros.client"])
    assert done.returncode == 0, done.stderr


def test_the_blocker_blocks():
    done = run_blocked(("torch",), ["molmo_model.vision"])
    assert "torch is out of reach" in done.stderr
