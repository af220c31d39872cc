import dataclasses
from pathlib import Path

import pytest
import yaml
from rclpy.node import Node
from rclpy.parameter import Parameter

from molmo_ros.parameters import Parameters, declare, mistakes, read

PARAMS_FILE = Path(__file__).parents[2] / "config" / "molmo.yaml"


def test_the_shipped_params_file_lists_the_defaults():
    shipped = yaml.safe_load(PARAMS_FILE.read_text())["/**"]["ros__parameters"]
    defaults = dataclasses.asdict(Parameters())
    del defaults["autostart"]  # the launch file's
    defaults["cameras"] = list(defaults["cameras"])  # YAML has no tuples
    assert shipped == defaults


def test_the_defaults_are_legal():
    assert mistakes(dataclasses.asdict(Parameters())) == []


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("max_frame_ages", 1.0, "unknown parameter 'max_frame_ages' (known: bundle,"),
        ("slop_s", -0.1, "slop_s: got -0.1, wanted 0.0 to 1.0"),
        ("slop_s", float("nan"), "slop_s: got nan, wanted 0.0 to 1.0"),
        ("max_new_tokens", 0, "max_new_tokens: got 0, wanted 1 to 4096"),
        ("max_new_tokens", True, "max_new_tokens: got True, wanted a whole number"),
        ("frame_wait_s", 2, "frame_wait_s: got 2, wanted a number with a decimal point"),
        ("bundle", 7, "bundle: got 7, wanted a string"),
        ("image_transport", "theora", "image_transport: got 'theora', wanted raw or compressed"),
        ("depth_qos", "best", "depth_qos: got 'best', wanted sensor_data or default or system_d"),
        ("cameras", "wrist", "cameras: got 'wrist', wanted a list of strings"),
        ("cameras", [1, 2], "cameras: got [1, 2], wanted a list of strings"),
        ("cameras", ["a", ""], "cameras: got ['a', ''], wanted different names as in topics"),
        ("cameras", ["/a"], "cameras: got ['/a'], wanted different names as in topics"),
        ("cameras", ["2x"], "cameras: got ['2x'], wanted different names as in topics"),
        ("cameras", ["a/"], "cameras: got ['a/'], wanted different names as in topics"),
        ("cameras", ["é"], "cameras: got ['é'], wanted different names as in topics"),
        ("cameras", ["a", "a"], "cameras: got ['a', 'a'], wanted different names as in topics"),
    ],
)
def test_a_wrong_override_is_named_with_what_came_and_what_was_wanted(name, value, complaint):
    (found,) = mistakes({name: value})
    assert found.startswith(complaint)


@pytest.mark.parametrize(
    ("given", "cameras"),
    [
        ([], ()),
        (["-p", "cameras:=[]"], ()),
        (["-p", "cameras:=[wrist, arm/head]"], ("wrist", "arm/head")),
    ],
)
def test_a_list_of_names_is_read_and_then_stands(ros, given, cameras):
    node = Node(f"named_{len(given)}_{len(cameras)}", cli_args=["--ros-args", *given])
    declare(node)
    assert read(node).cameras == cameras
    (refused,) = node.set_parameters([Parameter("cameras", value=["other"])])
    assert "read-only" in refused.reason
    assert node.describe_parameter("cameras").type == Parameter.Type.STRING_ARRAY.value
    node.destroy_node()


def test_all_mistakes_are_told_at_once():
    assert len(mistakes({"bundel": "x", "slop_s": 7.0, "autostart": True})) == 2


def test_what_rclpy_declares_by_itself_is_no_mistake():
    assert mistakes({"qos_overrides./clock.subscription.depth": 1}) == []
