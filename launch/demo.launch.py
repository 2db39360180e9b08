"""The fusion node on two simulated cameras: a look at the whole without hardware.

    ros2 launch ssvif_ros demo.launch.py scene:=smoke
    ros2 launch ssvif_ros demo.launch.py visible:=day.mp4 thermal:=day_thermal.mp4

It ends when the cameras end or on Ctrl-C. Every argument of fusion.launch.py works here too.
"""

from __future__ import annotations

import os
from typing import Any

from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    IncludeLaunchDescription,
    OpaqueFunction,
    Shutdown,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import PathJoinSubstitution, ThisLaunchFileDir
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

# Launch arguments that become parameters of the cameras: (argument, parameter).
CAMERA_PARAMETERS = (
    ("scene", "scene"),
    ("visible", "visible"),
    ("thermal", "thermal"),
)


def start_cameras(context: LaunchContext) -> list[Any]:
    """Two drivers in one process, with what the arguments say and its own defaults else."""
    arguments = context.launch_configurations
    if bool(arguments["visible"]) != bool(arguments["thermal"]):
        raise RuntimeError("visible:= and thermal:= belong together; give both files or neither")
    values = {
        parameter: arguments[argument]
        if argument == "scene"
        else os.path.abspath(os.path.expanduser(arguments[argument]))
        for argument, parameter in CAMERA_PARAMETERS
        if arguments[argument]
    }
    return [
        Node(
            package="ssvif_ros",
            executable="simulated_cameras",
            name="cameras",
            namespace=arguments["namespace"],
            parameters=[{k: ParameterValue(v, value_type=str) for k, v in values.items()}],
            output="screen",
            on_exit=Shutdown(reason="the cameras have ended"),
        )
    ]


def generate_launch_description() -> LaunchDescription:
    """Fusion first: it sets the shared-memory transport, which the cameras then inherit."""
    fusion = PathJoinSubstitution([ThisLaunchFileDir(), "fusion.launch.py"])
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "namespace",
                default_value="",
                description="Namespace of the cameras and of the fusion node.",
            ),
            DeclareLaunchArgument(
                "scene",
                default_value="",
                description="Scene that is drawn: day, night, glare or smoke.",
            ),
            DeclareLaunchArgument(
                "visible",
                default_value="",
                description="Video file or folder of images of the visible camera, not a scene.",
            ),
            DeclareLaunchArgument(
                "thermal",
                default_value="",
                description="The thermal camera's video file or folder that belongs to it.",
            ),
            IncludeLaunchDescription(PythonLaunchDescriptionSource(fusion)),
            OpaqueFunction(function=start_cameras),
        ]
    )
