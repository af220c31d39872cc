"""Shows the whole chain: a simulated camera, the Molmo node with Molmo-tiny, a guest who asks.

Ends when the guest has had all answers. Annotated pictures are written to `output`.
"""

from launch.actions import (
    DeclareLaunchArgument,
    IncludeLaunchDescription,
    SetEnvironmentVariable,
    Shutdown,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription

SHARE = FindPackageShare("molmo_ros")
NAMESPACE = "demo"


def generate_launch_description():
    """The robot cell, the node and the guest, all in one namespace."""
    seed = ParameterValue(LaunchConfiguration("seed"), value_type=int)
    output = ParameterValue(LaunchConfiguration("output"), value_type=str)
    molmo = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(PathJoinSubstitution([SHARE, "launch", "molmo.launch.py"])),
        launch_arguments={
            "namespace": NAMESPACE,
            "params_file": PathJoinSubstitution([SHARE, "config", "demo.yaml"]),
            "bundle": PathJoinSubstitution([SHARE, "assets", "molmo-tiny", "bundle"]),
            "autostart": "false",  # the guest is its lifecycle manager
        }.items(),
    )
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "seed", default_value="37", description="another seed, another table"
            ),
            DeclareLaunchArgument(
                "output", default_value="demo_output", description="folder for annotated pictures"
            ),
            SetEnvironmentVariable(
                "FASTRTPS_DEFAULT_PROFILES_FILE",
                PathJoinSubstitution([SHARE, "config", "fastdds_big_shm.xml"]),
            ),
            cell_node("camera_node", {"seed": seed}),
            molmo,
            cell_node("guest", {"seed": seed, "output": output}, on_exit=Shutdown()),
        ]
    )


def cell_node(executable, parameters, **options):
    """A node of the simulated robot cell."""
    return Node(
        package="molmo_ros",
        executable=executable,
        namespace=NAMESPACE,
        parameters=[parameters],
        output="screen",
        **options,
    )
