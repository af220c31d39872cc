"""The ROS shell of Molmo: the only rclpy in the repository."""

import pkgutil

# molmo_ros.msg and its siblings are generated elsewhere: find them beside this folder too.
__path__ = pkgutil.extend_path(__path__, __name__)
