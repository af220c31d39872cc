"""Starts the Molmo node on a camera; it configures and activates itself.

Example:  ros2 launch molmo_ros molmo.launch.py bundle:=/models/molmo-7b \
              image:=/camera/color/image_raw camera_info:=/camera/color/camera_info \
              depth:=/camera/aligned_depth_to_color/image_raw
"""

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription

SHARE = FindPackageShare("molmo_ros")
INPUTS = ("image", "depth", "camera_info")


def generate_launch_description():
    """The arguments, and the node that they describe."""
    return LaunchDescription(
        [
            argument("namespace", "", "namespace of the node and of everything it publishes"),
            argument(
                "params_file",
                PathJoinSubstitution([SHARE, "config", "molmo.yaml"]),
                "all other parameters of the node",
            ),
            argument("image", "image", "colour images: topic of raw ones, with or without '/'"),
            argument("depth", "depth", "depth images, registered to the colour ones"),
            argument("camera_info", "camera_info", "intrinsics of the colour images"),
            argument("bundle", "", "engine directory; empty: what params_file says"),
            argument("autostart", "true", "configure and activate without a lifecycle manager"),
            argument("use_sim_time", "false", "take the time from /clock"),
            argument("log_level", "info", "debug, info, warn, error or fatal"),
            OpaqueFunction(function=molmo_node),
        ]
    )


def argument(name, default, description):
    """Declares a launch argument."""
    return DeclareLaunchArgument(name, default_value=default, description=description)


def molmo_node(context):
    """The node. It comes back when it dies: it holds no state that a restart would lose."""
    parameters = {
        name: LaunchConfiguration(name).perform(context).lower() == "true"
        for name in ("autostart", "use_sim_time")
    }
    if bundle := LaunchConfiguration("bundle").perform(context):
        parameters["bundle"] = bundle
    node = LifecycleNode(
        package="molmo_ros",
        executable="molmo_node",
        name="molmo",
        namespace=LaunchConfiguration("namespace"),
        parameters=[LaunchConfiguration("params_file"), parameters],
        remappings=[(name, LaunchConfiguration(name)) for name in INPUTS],
        ros_arguments=["--log-level", LaunchConfiguration("log_level")],
        output="screen",
        respawn=True,
        respawn_delay=3.0,
    )
    return [node]
