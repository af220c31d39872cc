"""The program `molmo`: names the sub-commands and turns failures into one sentence each.

Knows nothing of models: every command imports what it needs when it runs, so that help is instant.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from molmo_cli import ask, demo, evaluate, export, fetch, train

# The extra of setup that brings a missing package.
EXTRAS = {
    "torch": "train",
    "huggingface_hub": "train",
    "onnxruntime": "cpu",
    "onnx": "export",
    "onnxscript": "export",
    "mujoco": "sim",
    "rosbags": "sim",
}
INTERFACES = ("molmo_ros.msg", "molmo_ros.srv", "molmo_ros.action")

app = typer.Typer(
    name="molmo",
    help="Look and point: ask Molmo about pictures, train it, and pack it for a robot.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.command("demo")(demo.demo)
app.command("ask")(ask.ask)
app.command("fetch")(fetch.fetch)
app.command("export")(export.export)
app.command("train")(train.train)
app.command("eval")(evaluate.evaluate)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs one sub-command; exits with 0, with 1 when it failed, with 2 when it was misused."""
    try:
        app(args=argv, prog_name="molmo")
    except ImportError as error:
        _fail(_missing(error))
    except Exception as error:
        if not _is_expected(error):
            raise
        _fail(str(error))


def _fail(sentence: str) -> None:
    typer.echo(f"molmo: {sentence}", err=True)
    sys.exit(1)


def _missing(error: ImportError) -> str:
    """What to install. An import that fails for another reason is a bug and stays an exception."""
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
    raise error


def _is_expected(error: Exception) -> bool:
    """Ours by the module of its class, or the operating system's; all else is a bug."""
    return isinstance(error, OSError) or type(error).__module__.startswith("molmo_")
