"""The robot cell of the demo as ROS nodes: a simulated camera, a player of recordings."""
