"""The layouts for RViz and Foxglove: they name topics of the node, and with their types."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from robot import Robot
from std_msgs.msg import Header

from molmo_ros.markers import markers
from molmo_ros.msg import Waypoint

ROOT = Path(__file__).parents[2]
RVIZ = yaml.safe_load((ROOT / "rviz" / "molmo.rviz").read_text())["Visualization Manager"]
FOXGLOVE = json.loads((ROOT / "config" / "foxglove_layout.json").read_text())

TYPES = {
    "/molmo/annotated": "sensor_msgs/msg/Image",
    "/molmo/markers": "visualization_msgs/msg/MarkerArray",
    "/molmo/waypoints": "geometry_msgs/msg/PoseArray",
    "/molmo/answer": "molmo_ros/msg/Answer",
    "/molmo/tracked_poses": "geometry_msgs/msg/PoseArray",
    "/diagnostics": "diagnostic_msgs/msg/DiagnosticArray",
}
NAMESPACES = {"point", "approach", "label", "uncertainty"}


@pytest.fixture(scope="module")
def published(serving) -> dict[str, str]:
    """The topics of a node, by name, as if it had no namespace, and their types."""
    robot = Robot("/serve")
    ask = robot.node.get_publisher_names_and_types_by_node
    found = robot.until(lambda: ask("molmo", "/serve"), "the publishers of the node")
    robot.close()
    return {name.removeprefix("/serve"): kind for name, (kind,) in found}


def shown_by_rviz() -> dict[str, str]:
    """Topics by the kind of display."""
    return {
        display["Topic"]["Value"]: display["Class"].removeprefix("rviz_default_plugins/")
        for display in RVIZ["Displays"]
        if "Topic" in display
    }


def leaves(layout: dict[str, Any] | str) -> Iterator[str]:
    """The panels in a layout, from first to last."""
    if isinstance(layout, str):
        yield layout
        return
    assert layout["direction"] in ("row", "column")
    assert 0 < layout["splitPercentage"] < 100
    yield from leaves(layout["first"])
    yield from leaves(layout["second"])


def shown_by_foxglove() -> set[str]:
    panels = FOXGLOVE["configById"]
    return {
        *panels["3D!waypoints"]["topics"],
        panels["Image!annotated"]["imageMode"]["imageTopic"],
        panels["RawMessages!answer"]["topicPath"],
        panels["DiagnosticSummary!health"]["topicToRender"],
    }


@pytest.mark.parametrize("shown", [set(shown_by_rviz()), shown_by_foxglove()])
def test_only_topics_of_the_node_are_shown(published, shown):
    for topic in shown:
        assert published[topic] == TYPES[topic]


def test_rviz_shows_each_topic_with_the_display_of_its_type():
    for topic, display in shown_by_rviz().items():
        assert TYPES[topic].endswith(f"/{display}")


def test_rviz_hears_reliable_topics_reliably():
    policies = [
        each["Topic"]["Reliability Policy"] for each in RVIZ["Displays"] if "Topic" in each
    ]
    assert set(policies) == {"Reliable"}


def test_both_show_all_that_is_drawn_of_a_waypoint():
    drawn = {marker.ns for marker in markers(Header(), [Waypoint()]).markers[1:]}
    assert drawn == NAMESPACES
    (display,) = (each for each in RVIZ["Displays"] if each["Class"].endswith("/MarkerArray"))
    assert set(display["Namespaces"]) == NAMESPACES
    topics = FOXGLOVE["configById"]["3D!waypoints"]["topics"]
    assert set(topics["/molmo/markers"]["namespaces"]) == NAMESPACES


def test_the_panels_of_foxglove_are_those_that_are_configured():
    panels = list(leaves(FOXGLOVE["layout"]))
    assert sorted(panels) == sorted(FOXGLOVE["configById"])
    kinds = {panel.split("!")[0] for panel in panels}
    assert kinds == {"3D", "Image", "RawMessages", "Publish", "DiagnosticSummary"}
    assert {"globalVariables", "userNodes", "playbackConfig"} < set(FOXGLOVE)


def test_foxglove_asks_on_a_topic_that_the_node_hears(serving):
    robot = Robot("/serve")
    publish = FOXGLOVE["configById"]["Publish!prompt"]
    heard = dict(robot.node.get_subscriber_names_and_types_by_node("molmo", "/serve"))
    robot.close()
    assert heard["/serve" + publish["topicName"]] == [publish["datatype"]]
    assert json.loads(publish["value"]).keys() == {"data"}
