"""The fusion node on two simulated cameras: a look at the whole without hardware.

    ros2 launch ssvif_ros demo.launch.py scene:=smoke
    ros2 launch ssvif_ros demo.launch.py visible:=day.mp4 thermal:=day_thermal.mp4

Files are played again and again; Ctrl-C ends it. Every argument of fusion.launch.py works here too,
but for the topics: the cameras' own are what the node hears.
"""

from __future__ import annotations

import os
from typing import Any

from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
)
from launch.event_handlers import OnProcessExit
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import PathJoinSubstitution, ThisLaunchFileDir
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

# Launch arguments that become parameters of the cameras: name there, and whether it is a path.
CAMERA_PARAMETERS = {
    "scene": ("scene", False),
    "visible": ("visible_file", True),
    "thermal": ("thermal_file", True),
}


def check(context: LaunchContext) -> None:
    """Refuses half a pair of files while nothing runs: an error later would leave orphans."""
    arguments = context.launch_configurations
    if bool(arguments["visible"]) != bool(arguments["thermal"]):
        raise RuntimeError("visible:= and thermal:= belong together; give both files or neither")


def start_cameras(context: LaunchContext) -> list[Any]:
    """Two drivers in one process; an argument that is left empty leaves their own default."""
    arguments = context.launch_configurations
    parameters = {
        name: ParameterValue(
            os.path.abspath(os.path.expanduser(arguments[argument]))
            if is_path
            else arguments[argument],
            value_type=str,
        )
        for argument, (name, is_path) in CAMERA_PARAMETERS.items()
        if arguments[argument]
    }
    cameras = Node(  # without a name: it holds a node for each camera, and each keeps its own
        package="ssvif_ros",
        executable="simulated_cameras",
        namespace=arguments["namespace"],
        parameters=[parameters] if parameters else [],
        output="screen",
    )
    return [RegisterEventHandler(OnProcessExit(target_action=cameras, on_exit=end)), cameras]


def end(event: Any, context: LaunchContext) -> list[Any]:
    """Without cameras there is nothing to see; on Ctrl-C everything is ending already."""
    if context.is_shutdown:
        return []
    if event.returncode:
        raise RuntimeError("the simulated cameras have failed; the lines above say why")
    return [Shutdown(reason="the cameras have ended")]


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
                description="Drawn scene: day, night, glare, smoke, or show for all in turn.",
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
            OpaqueFunction(function=check),
            IncludeLaunchDescription(PythonLaunchDescriptionSource(fusion)),
            OpaqueFunction(function=start_cameras),
        ]
    )
