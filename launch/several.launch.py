"""Starts several fusion nodes on one robot, each in a namespace with cameras of its own.

    ros2 launch ssvif_ros several.launch.py instances:=front,rear model:=tiny
    ros2 launch ssvif_ros several.launch.py instances:=front,rear visible_topic:=rgb/image

Every argument of fusion.launch.py holds for each of them. Relative topics lie in the namespace, so
`/front/fusion` hears `/front/visible/image_raw`; a params_file may have a part for `/front/fusion`
and another for `/rear/fusion`.
"""

from __future__ import annotations

import re

from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    GroupAction,
    IncludeLaunchDescription,
    OpaqueFunction,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import PathJoinSubstitution, ThisLaunchFileDir


def namespaces(text: str) -> list[str]:
    """The names between commas. Raises RuntimeError where one is none, or is there twice."""
    names = [name.strip().strip("/") for name in text.split(",")]
    for name in names:
        if not re.fullmatch(r"[A-Za-z_]\w*(/[A-Za-z_]\w*)*", name, re.ASCII):
            raise RuntimeError(f"launch argument instances:={text}: '{name}' is no namespace")
    if len(set(names)) < len(names):
        raise RuntimeError(f"launch argument instances:={text}: a namespace is there twice")
    return names


def start(context: LaunchContext) -> list[GroupAction]:
    """One scope for each, so that what one include sets does not reach the next."""
    fusion = PathJoinSubstitution([ThisLaunchFileDir(), "fusion.launch.py"])
    return [
        GroupAction(
            [
                IncludeLaunchDescription(
                    PythonLaunchDescriptionSource(fusion),
                    launch_arguments={"namespace": name}.items(),
                )
            ]
        )
        for name in namespaces(context.launch_configurations["instances"])
    ]


def generate_launch_description() -> LaunchDescription:
    """One argument of its own; the others are fusion.launch.py's."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "instances",
                default_value="front,rear",
                description="Namespaces with commas between them, one node in each.",
            ),
            OpaqueFunction(function=start),
        ]
    )
