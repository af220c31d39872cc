"""The definitions that a bag carries: those of the installation, whole, with the right hash."""

import json
from pathlib import Path

import pytest
from ament_index_python.packages import get_package_share_directory
from rosbags.typesys import get_types_from_msg

from molmo_ros.definitions import DefinitionError, find_definition, read_definition

KINDS = ("molmo_ros/msg/Answer", "visualization_msgs/msg/MarkerArray", "std_msgs/msg/String")


@pytest.mark.parametrize("kind", KINDS)
def test_the_hash_is_that_of_the_installed_type(kind):
    package, _, name = kind.partition("/")
    described = Path(get_package_share_directory(package)) / f"{name}.json"
    if not described.exists():
        pytest.skip("types of this ROS 2 carry no hashes: Humble's do not")
    hashes = json.loads(described.read_text())["type_hashes"]
    assert {"type_name": kind, "hash_string": find_definition(kind).digest} in hashes


def test_a_definition_brings_all_types_that_it_is_made_of():
    text = find_definition("molmo_ros/msg/Answer").text
    known = get_types_from_msg(text, "molmo_ros/msg/Answer")
    assert {"molmo_ros/msg/Waypoint", "geometry_msgs/msg/Quaternion"} < known.keys()
    assert "builtin_interfaces/msg/Time" in known
    assert text.startswith("# Everything about one answer")  # its comments, too


def test_reading_a_definition_gives_the_hash_of_finding_it():
    found = find_definition("sensor_msgs/msg/Image")
    assert read_definition("sensor_msgs/msg/Image", found.text) == found


@pytest.mark.parametrize("kind", ["nowhere_msgs/msg/Thing", "std_msgs/msg/Thing", "String"])
def test_a_type_that_is_not_installed_is_named(kind):
    with pytest.raises(DefinitionError, match=f"{kind} is not in this ROS installation"):
        find_definition(kind)


@pytest.mark.parametrize("text", ["int32", "other_msgs/Part part", "\0", "=" * 80 + "\nIDL: x\n"])
def test_a_definition_that_cannot_be_read_is_named(text):
    with pytest.raises(DefinitionError, match="a_msgs/msg/A"):
        read_definition("a_msgs/msg/A", text)
