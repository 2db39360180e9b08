"""A recording, played as if its cameras were there, and the fusion node on its time.

    ros2 launch ssvif_ros replay.launch.py bag:=drive
    ros2 launch ssvif_ros replay.launch.py bag:=drive loop:=true visible_topic:=/rgb/image_raw

`ros2 bag play --clock` plays it as soon as the node is active, so that the first frames are not
lost, and the node runs on /clock. Everything ends with the recording, or with Ctrl-C where it
loops. Every argument of fusion.launch.py works here too. Without ROS, and for figures:
`ssvif replay`.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
)
from launch.event_handlers import OnProcessExit
from launch.events.process import ProcessExited
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import PathJoinSubstitution, ThisLaunchFileDir
from launch_ros.event_handlers import OnStateTransition

CLOCK_HZ = 100


def recording(context: LaunchContext) -> str:
    """The path of the recording; raises RuntimeError where there is none."""
    text = context.launch_configurations["bag"]
    path = Path(text).expanduser().absolute()
    if not text or not path.exists():
        raise RuntimeError(f"launch argument bag:={text} is no recording; give the path of one")
    return str(path)


def number(context: LaunchContext, argument: str, least: float) -> str:
    """The argument as it was written, if it is a number above `least`."""
    text = context.launch_configurations[argument]
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (value > least and math.isfinite(value)):
        raise RuntimeError(f"launch argument {argument}:={text} must be a number above {least:g}")
    return text


def looping(context: LaunchContext) -> bool:
    """Whether to begin again at the end."""
    text = context.launch_configurations["loop"].strip().lower()
    if text not in ("true", "false"):
        raise RuntimeError(f"launch argument loop:={text} must be true or false")
    return text == "true"


def command(context: LaunchContext) -> list[str]:
    """What plays the recording."""
    words = ["ros2", "bag", "play", recording(context), "--clock", str(CLOCK_HZ)]
    words += ["--rate", number(context, "rate", 0.0)]
    if context.launch_configurations["start"]:
        words += ["--start-offset", number(context, "start", -1e-9)]
    return [*words, "--loop"] if looping(context) else words


def check(context: LaunchContext) -> None:
    """Refuses what cannot be played while nothing runs: an error later would leave orphans."""
    command(context)
    try:
        get_package_prefix("ros2bag")
    except PackageNotFoundError as error:
        raise RuntimeError(
            "`ros2 bag` is not installed: sudo apt install ros-$ROS_DISTRO-rosbag2 "
            "ros-$ROS_DISTRO-rosbag2-storage-mcap"
        ) from error


def play_when_active(context: LaunchContext) -> list[Any]:
    """The player, started once by the node's transition to active."""
    player = ExecuteProcess(cmd=command(context), name="ros2_bag_play", output="screen")
    return [
        RegisterEventHandler(OnProcessExit(target_action=player, on_exit=played)),
        # Once: a node that was started again goes on with the recording where it is.
        RegisterEventHandler(
            OnStateTransition(goal_state="active", entities=[player], handle_once=True)
        ),
    ]


def played(event: ProcessExited, context: LaunchContext) -> list[Shutdown]:
    """End with the recording; on Ctrl-C everything is ending already."""
    if context.is_shutdown:
        return []
    if event.returncode:
        raise RuntimeError("the recording could not be played; the lines above say why")
    return [Shutdown(reason="the recording has been played")]


def generate_launch_description() -> LaunchDescription:
    """The player waits for the node, so its handlers come first."""
    fusion = PathJoinSubstitution([ThisLaunchFileDir(), "fusion.launch.py"])
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "bag",
                default_value="",
                description="Recording to play: a folder, an .mcap or a .db3 file.",
            ),
            DeclareLaunchArgument(
                "rate", default_value="1.0", description="Speed of play; 1 is real time."
            ),
            DeclareLaunchArgument(
                "loop",
                default_value="false",
                description="Begin again at the end; the node restarts its pairing each time.",
            ),
            DeclareLaunchArgument(
                "start",
                default_value="",
                description="Leave out this much of the recording first, in seconds.",
            ),
            OpaqueFunction(function=check),
            OpaqueFunction(function=play_when_active),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(fusion),
                launch_arguments={"use_sim_time": "true"}.items(),
            ),
        ]
    )
