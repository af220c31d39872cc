"""A stand-in for the part of the launch API that our launch files use.

The real `launch` and `launch_ros` come with a ROS 2 installation and not as wheels. Signatures
here are subsets of the real ones, so that an argument which these do not know fails. Executing a
description gives the processes that it would start; it proves no more than it models: no events
but the end of a process, no timers, no respawn, one scope for all configurations.
"""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import yaml
from ament_index_python.packages import get_package_prefix, get_package_share_directory


@dataclass(frozen=True)
class Process:
    """A process that a launch file starts."""

    command: list[str]
    environment: dict[str, str]
    ends_launch: bool


@dataclass
class Context:
    """What a launch has come to know, and where it writes parameter files."""

    folder: Path
    configurations: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    processes: list[Process] = field(default_factory=list)
    serial: Iterator[int] = field(default_factory=itertools.count)


class LaunchConfiguration:
    def __init__(self, variable_name: str) -> None:
        self.name = variable_name

    def perform(self, context: Context) -> str:
        return context.configurations[self.name]


class PathJoinSubstitution:
    def __init__(self, substitutions: list) -> None:
        self.parts = substitutions

    def perform(self, context: Context) -> str:
        return str(Path(*(text(part, context) for part in self.parts)))


class FindPackageShare:
    def __init__(self, package: str) -> None:
        self.package = package

    def perform(self, context: Context) -> str:
        return get_package_share_directory(self.package)


class ParameterValue:
    def __init__(self, value: LaunchConfiguration, *, value_type: type) -> None:
        self.value, self.type = value, value_type

    def perform(self, context: Context) -> object:
        return self.type(self.value.perform(context))


class LaunchDescription:
    def __init__(self, initial_entities: list) -> None:
        self.entities = initial_entities

    def visit(self, context: Context) -> None:
        for entity in self.entities:
            entity.visit(context)


class DeclareLaunchArgument:
    def __init__(self, name: str, *, default_value: object, description: str) -> None:
        self.name, self.default, self.description = name, default_value, description

    def visit(self, context: Context) -> None:
        if self.name not in context.configurations:
            context.configurations[self.name] = text(self.default, context)


class SetEnvironmentVariable:
    def __init__(self, name: str, value: object) -> None:
        self.name, self.value = name, value

    def visit(self, context: Context) -> None:
        context.environment[self.name] = text(self.value, context)


class OpaqueFunction:
    def __init__(self, *, function) -> None:
        self.function = function

    def visit(self, context: Context) -> None:
        LaunchDescription(self.function(context)).visit(context)


class PythonLaunchDescriptionSource:
    def __init__(self, launch_file_path: object) -> None:
        self.path = launch_file_path


class IncludeLaunchDescription:
    def __init__(self, source: PythonLaunchDescriptionSource, *, launch_arguments) -> None:
        self.source, self.arguments = source, launch_arguments

    def visit(self, context: Context) -> None:
        for name, value in self.arguments:
            context.configurations[name] = text(value, context)
        load(Path(text(self.source.path, context))).visit(context)


class Shutdown:
    """Ends the launch; only known as what follows the end of a process."""


class Node:
    def __init__(
        self,
        *,
        package: str,
        executable: str,
        name: str | None = None,
        namespace: object = "",
        parameters: list | None = None,
        remappings: list | None = None,
        ros_arguments: list | None = None,
        output: str = "log",
        respawn: bool = False,
        respawn_delay: float | None = None,
        on_exit: Shutdown | None = None,
    ) -> None:
        self.executable = (package, executable)
        self.name, self.namespace = name, namespace
        self.parameters, self.remappings = parameters or [], remappings or []
        self.ros_arguments, self.on_exit = ros_arguments or [], on_exit

    def visit(self, context: Context) -> None:
        package, executable = self.executable
        program = Path(get_package_prefix(package), "lib", package, executable)
        if not program.is_file():
            raise FileNotFoundError(f"{program}: no such executable in {package}")
        command = [str(program), "--ros-args"]
        command += [text(argument, context) for argument in self.ros_arguments]
        command += ["-r", f"__node:={self.name}"] if self.name else []
        if namespace := text(self.namespace, context).strip("/"):
            command += ["-r", f"__ns:=/{namespace}"]
        for given in self.parameters:
            command += ["--params-file", parameter_file(given, context)]
        for name, topic in self.remappings:
            command += ["-r", f"{name}:={text(topic, context)}"]
        ends = isinstance(self.on_exit, Shutdown)
        context.processes.append(Process(command, dict(context.environment), ends))


class LifecycleNode(Node):
    def __init__(self, *, name: str, namespace: object, **options: object) -> None:
        super().__init__(name=name, namespace=namespace, **options)


def text(value: object, context: Context) -> str:
    """A string, or a substitution performed."""
    return value if isinstance(value, str) else value.perform(context)


def parameter_file(given: object, context: Context) -> str:
    """The file with these parameters: named, or written here."""
    if not isinstance(given, dict):
        return text(given, context)
    values = {
        name: value.perform(context) if isinstance(value, ParameterValue) else value
        for name, value in given.items()
    }
    file = context.folder / f"launch_params_{next(context.serial)}.yaml"
    file.write_text(yaml.safe_dump({"/**": {"ros__parameters": values}}))
    return str(file)


MODULES = {
    "launch": [LaunchDescription],
    "launch.actions": [
        DeclareLaunchArgument,
        IncludeLaunchDescription,
        OpaqueFunction,
        SetEnvironmentVariable,
        Shutdown,
    ],
    "launch.launch_description_sources": [PythonLaunchDescriptionSource],
    "launch.substitutions": [LaunchConfiguration, PathJoinSubstitution],
    "launch_ros": [],
    "launch_ros.actions": [LifecycleNode, Node],
    "launch_ros.parameter_descriptions": [ParameterValue],
    "launch_ros.substitutions": [FindPackageShare],
}


def modules() -> dict[str, ModuleType]:
    """What `import launch` shall find."""
    found = {}
    for name, members in MODULES.items():
        found[name] = ModuleType(name)
        for member in members:
            setattr(found[name], member.__name__, member)
    return found


def load(file: Path) -> LaunchDescription:
    """What a launch file describes."""
    spec = importlib.util.spec_from_file_location(file.name.replace(".", "_"), file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.generate_launch_description()
