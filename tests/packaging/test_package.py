"""What package.xml, CMakeLists.txt and the interfaces say of each other, and of the sources."""

from __future__ import annotations

import ast
import re
import xml.etree.ElementTree as ElementTree
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CMAKE = (ROOT / "CMakeLists.txt").read_text()
PACKAGE = ElementTree.parse(ROOT / "package.xml").getroot()
INTERFACES = sorted(
    file for kind in ("msg", "srv", "action") for file in ROOT.glob(f"{kind}/*.{kind}")
)
ROS_PACKAGE = re.compile(
    r"(\w+_msgs|\w+_interfaces|rclpy|tf2_ros|cv_bridge|message_filters|diagnostic_updater"
    r"|ament_index_python|launch|launch_ros)$"
)


def depends(*kinds: str) -> set[str]:
    return {entry.text for kind in kinds for entry in PACKAGE.findall(kind)}


def ros_imports() -> set[str]:
    """ROS packages that the node and the launch files import, wherever in the file."""
    files = [*ROOT.glob("molmo_ros/**/*.py"), *ROOT.glob("launch/*.py")]
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text()))]
    names = [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    names += [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    return {top for name in names if ROS_PACKAGE.match(top := name.split(".")[0])}


def test_package_xml_names_every_ros_package_that_is_imported():
    assert ros_imports() <= depends("depend", "exec_depend")


def test_package_xml_names_what_cmake_looks_for():
    wanted = set(re.findall(r"find_package\((\w+)", CMAKE))
    assert wanted == depends("buildtool_depend", "depend")


def test_cmake_generates_every_interface():
    listed = re.findall(r"^\s+((?:msg|srv|action)/\S+)$", CMAKE, re.MULTILINE)
    assert sorted(listed) == sorted(str(file.relative_to(ROOT)) for file in INTERFACES)


@pytest.mark.parametrize("file", INTERFACES, ids=lambda file: file.name)
def test_interfaces_open_with_what_they_are_for(file):
    assert re.match(r"# [A-Z][^\n]+\.", file.read_text())


def test_every_executable_has_a_module_with_a_main():
    mains = re.findall(r"^install_main\((\w+) ([\w.]+) ", CMAKE, re.MULTILINE)
    assert {"molmo", "molmo_node"} <= {name for name, _ in mains}
    for _, module in mains:
        tree = ast.parse(Path(find_spec(module).origin).read_text())
        assert any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body)


def test_the_changelog_opens_with_the_version_of_package_xml():
    version = PACKAGE.findtext("version")
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == version
