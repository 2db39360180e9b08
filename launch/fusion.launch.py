"""Starts the fusion node on two cameras and takes it to `active`, one step after the other.

    ros2 launch ssvif_ros fusion.launch.py visible_topic:=/rgb/image thermal_topic:=/ir/image
    ros2 launch ssvif_ros fusion.launch.py build_only:=true   # TensorRT engine, then exit
    ros2 launch ssvif_ros fusion.launch.py --show-args

An argument that is left empty changes nothing: the value then comes from `params_file`. It knows
topics and parameter names, and nothing of what the node does with them.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
    Shutdown,
)
from launch.event_handlers import OnProcessExit, OnProcessStart
from launch.events import matches_action
from launch.events.process import ProcessExited
from launch.substitutions import PathJoinSubstitution
from launch_ros.actions import LifecycleNode, Node
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare
from lifecycle_msgs.msg import Transition

from ssvif_ros.share import use_shared_memory_profile

# A crashed process is remembered by its peers until its DDS lease ends (Fast DDS 20 s, Cyclone DDS
# 10 s); a request for a transition that is sent before can reach the dead one and be lost.
RESPAWN_DELAY_S = 25.0


def boolean(text: str) -> bool:
    """`true` or `false` as people write them; anything else raises ValueError."""
    values = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    if text.strip().lower() not in values:
        raise ValueError("is neither true nor false")
    return values[text.strip().lower()]


def cpu_list(text: str) -> str:
    """Numbers and ranges of CPUs that this machine has, such as `2,3` or `0,4-7`."""
    for part in text.replace(" ", "").split(","):
        found = re.fullmatch(r"(\d+)(?:-(\d+))?", part, re.ASCII)
        if found is None:
            raise ValueError("is no list of CPUs such as 2,3 or 0,4-7")
        first, last = int(found[1]), int(found[2] or found[1])
        if not first <= last < (os.cpu_count() or 1):
            raise ValueError(f"names CPUs that are not there: this machine has {os.cpu_count()}")
    return text.replace(" ", "")


# Launch arguments that become node parameters of the same name, and how their text is read.
NODE_PARAMETERS: dict[str, Callable[[str], Any]] = {
    "model": str,
    "engine": str,
    "precision": str,
    "threads": int,
    "visible_transport": str,
    "thermal_transport": str,
    "sync.policy": str,
    "slop": float,
    "thermal_offset": float,
    "on_missing": str,
    "use_sim_time": boolean,
}


def read(context: LaunchContext, argument: str, convert: Callable[[str], Any]) -> Any:
    """The argument's value, or None where it was left empty."""
    text = context.launch_configurations[argument]
    if not text.strip():
        return None
    try:
        return convert(text)
    except ValueError as error:
        raise RuntimeError(f"launch argument {argument}:={text} {error}; give another") from error


def transport(context: LaunchContext) -> list[SetEnvironmentVariable]:
    """Large shared-memory segments for Fast DDS, unless the environment says otherwise.

    Everything that is launched after this inherits it, camera drivers of an including file too.
    """
    if not read(context, "fastdds_shm", boolean):
        return []
    wanted = dict(context.environment)
    use_shared_memory_profile(wanted)
    return [
        SetEnvironmentVariable(name, value)
        for name, value in wanted.items()
        if context.environment.get(name) != value
    ]


def parameters(context: LaunchContext) -> list[Any]:
    """The parameter file, then what the arguments change in it."""
    file = Path(context.launch_configurations["params_file"]).expanduser()
    if not file.is_file():
        raise RuntimeError(f"params_file {file} does not exist; give the path of a YAML file")
    values = {name: read(context, name, convert) for name, convert in NODE_PARAMETERS.items()}
    calibration = read(context, "calibration", Path)
    if calibration is not None:
        values["registration.file"] = str(calibration.expanduser().absolute())
    changed = {
        name: ParameterValue(value, value_type=type(value))
        for name, value in values.items()
        if value is not None
    }
    return [str(file), changed] if changed else [str(file)]


def affinity(context: LaunchContext) -> str | None:
    """Command before the executable that keeps it and its threads on the CPUs of `cpus`."""
    cpus = read(context, "cpus", cpu_list)
    if cpus is None:
        return None
    if shutil.which("taskset") is None:
        raise RuntimeError("launch argument cpus needs taskset (package util-linux); install it")
    return f"taskset --cpu-list {cpus}"


def remappings(context: LaunchContext) -> list[tuple[str, str]]:
    """The node's inputs; the camera info lies beside the image where nothing is said."""
    topics = []
    for camera in ("visible", "thermal"):
        image = context.launch_configurations[f"{camera}_topic"]
        if not PurePosixPath(image).name:
            raise RuntimeError(f"launch argument {camera}_topic:={image} names no topic")
        info = context.launch_configurations[f"{camera}_info_topic"]
        beside = str(PurePosixPath(image).with_name("camera_info"))
        topics += [(f"{camera}/image_raw", image), (f"{camera}/camera_info", info or beside)]
    return topics


def change_state(node: LifecycleNode, transition_id: int) -> EmitEvent:
    """Asks the node for a transition; launch_ros waits until the node offers its services."""
    return EmitEvent(
        event=ChangeState(lifecycle_node_matcher=matches_action(node), transition_id=transition_id)
    )


def bring_up(node: LifecycleNode, required: bool) -> list[RegisterEventHandler]:
    """Configure as soon as the process runs, activate as soon as it is configured.

    `required`: all ends if the process ends before that.
    """
    asking = [True]  # whether launch_ros waits for an answer of the node, or is about to ask

    def answered(context: LaunchContext) -> None:
        asking.clear()

    def ended(event: ProcessExited, context: LaunchContext) -> None:
        """Without this launch_ros waits for the answer for ever, and nothing ends."""
        if asking and required and not context.is_shutdown:
            raise RuntimeError("the fusion node has not come up; the lines above say why")

    last = (("configuring", "unconfigured"), ("activating", None), (None, "errorprocessing"))
    return [
        RegisterEventHandler(OnProcessExit(target_action=node, on_exit=ended)),
        *(
            RegisterEventHandler(
                OnStateTransition(
                    target_lifecycle_node=node,
                    start_state=start,
                    goal_state=goal,
                    entities=[OpaqueFunction(function=answered)],
                )
            )
            for start, goal in last
        ),
        RegisterEventHandler(
            OnProcessStart(
                target_action=node,
                on_start=[change_state(node, Transition.TRANSITION_CONFIGURE)],
            )
        ),
        RegisterEventHandler(
            OnStateTransition(
                target_lifecycle_node=node,
                start_state="configuring",
                goal_state="inactive",
                entities=[change_state(node, Transition.TRANSITION_ACTIVATE)],
            )
        ),
        RegisterEventHandler(
            OnStateTransition(
                target_lifecycle_node=node,
                start_state="configuring",
                goal_state="unconfigured",
                entities=[
                    LogInfo(msg="The fusion node could not be configured: its own log says why.")
                ],
            )
        ),
    ]


def build(context: LaunchContext) -> list[Any]:
    """The node's executable builds the engine that its parameters ask for; then all ends."""
    return [
        Node(
            package="ssvif_ros",
            executable="fusion_node",
            name=context.launch_configurations["node_name"],
            namespace=context.launch_configurations["namespace"],
            parameters=parameters(context),
            arguments=["--build-only"],
            output="screen",
            on_exit=built,
        )
    ]


def built(event: ProcessExited, context: LaunchContext) -> Shutdown:
    """End with the build; a failed one must give a status that an installer sees."""
    if event.returncode:
        raise RuntimeError("no engine was built; the lines above say why")
    return Shutdown(reason="the engine is there")


def start(context: LaunchContext) -> list[Any]:
    """Everything that depends on the arguments' values."""
    if read(context, "build_only", boolean):
        return build(context)
    respawns = bool(read(context, "respawn", boolean))
    node = LifecycleNode(
        package="ssvif_ros",
        executable="fusion_node",
        name=context.launch_configurations["node_name"],
        namespace=context.launch_configurations["namespace"],
        parameters=parameters(context),
        remappings=remappings(context),
        ros_arguments=["--log-level", context.launch_configurations["log_level"]],
        respawn=respawns,
        respawn_delay=RESPAWN_DELAY_S,
        prefix=affinity(context),
        output="screen",
    )
    # The handlers come first, so that they are there when the process starts.
    required = not respawns and bool(read(context, "required", boolean))
    handlers = bring_up(node, required) if read(context, "autostart", boolean) else []
    return [*transport(context), *handlers, node]


def generate_launch_description() -> LaunchDescription:
    """The arguments; what they make happen is decided in `start`."""
    default_file = PathJoinSubstitution([FindPackageShare("ssvif_ros"), "config", "fusion.yaml"])
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "namespace", default_value="", description="Namespace of the node, as in /robot."
            ),
            DeclareLaunchArgument(
                "node_name", default_value="fusion", description="Name of the node."
            ),
            DeclareLaunchArgument(
                "params_file",
                default_value=default_file,
                description="YAML file with the node's parameters; the arguments below go first.",
            ),
            DeclareLaunchArgument(
                "model",
                default_value="",
                description="Shipped model (base, tiny) or path of an ONNX file.",
            ),
            DeclareLaunchArgument(
                "engine",
                default_value="",
                description="Inference engine; auto takes the fastest that works.",
            ),
            DeclareLaunchArgument(
                "precision",
                default_value="",
                description="Precision of the model: auto, fp32, fp16 or int8.",
            ),
            DeclareLaunchArgument(
                "build_only",
                default_value="false",
                description="Build the TensorRT engine that the parameters ask for, and exit.",
            ),
            DeclareLaunchArgument(
                "threads",
                default_value="",
                description="CPU threads of the engine (0: one for each core).",
            ),
            DeclareLaunchArgument(
                "visible_topic",
                default_value="visible/image_raw",
                description="Images of the visible camera.",
            ),
            DeclareLaunchArgument(
                "thermal_topic",
                default_value="thermal/image_raw",
                description="Images of the thermal camera.",
            ),
            DeclareLaunchArgument(
                "visible_transport",
                default_value="",
                description="raw, or compressed: then visible_topic + '/compressed' is heard.",
            ),
            DeclareLaunchArgument(
                "thermal_transport",
                default_value="",
                description="The same for the thermal camera.",
            ),
            DeclareLaunchArgument(
                "visible_info_topic",
                default_value="",
                description="CameraInfo of the visible camera; empty: the one beside its image.",
            ),
            DeclareLaunchArgument(
                "thermal_info_topic",
                default_value="",
                description="CameraInfo of the thermal camera; empty: the one beside its image.",
            ),
            DeclareLaunchArgument(
                "calibration",
                default_value="",
                description="File of `ssvif calibrate`; without: see registration.mode.",
            ),
            DeclareLaunchArgument(
                "sync.policy",
                default_value="",
                description="How frames are paired: nearest, exact or hold (slow thermal core).",
            ),
            DeclareLaunchArgument(
                "slop",
                default_value="",
                description="Largest difference between the stamps of one pair, in seconds.",
            ),
            DeclareLaunchArgument(
                "thermal_offset",
                default_value="",
                description="Seconds added to thermal stamps; negative if they come late.",
            ),
            DeclareLaunchArgument(
                "on_missing",
                default_value="",
                description="While one camera is missing: fuse_single, passthrough or stop.",
            ),
            DeclareLaunchArgument(
                "use_sim_time",
                default_value="",
                description="Take the time from /clock (true with bags and simulators).",
            ),
            DeclareLaunchArgument(
                "autostart",
                default_value="true",
                description="Configure and activate the node; false leaves that to a manager.",
            ),
            DeclareLaunchArgument(
                "respawn",
                default_value="false",
                description="Start the node again, up to active, 25 s after its process ended.",
            ),
            DeclareLaunchArgument(
                "required",
                default_value="true",
                description="End everything, with status 1, if the node ends before it is active; "
                "false where a launch file includes this one beside what must go on.",
            ),
            DeclareLaunchArgument(
                "cpus",
                default_value="",
                description="CPUs that the node may use, such as 2,3 or 4-7; empty: all. Give the "
                "engine as many threads, or one less.",
            ),
            DeclareLaunchArgument(
                "log_level",
                default_value="info",
                choices=["debug", "info", "warn", "error", "fatal"],
                description="Least severe messages that are logged.",
            ),
            DeclareLaunchArgument(
                "fastdds_shm",
                default_value="true",
                description="Give Fast DDS shared memory that holds whole images; see "
                "config/fastdds_shm.xml. Nothing changes where a profile is set already.",
            ),
            OpaqueFunction(function=start),
        ]
    )
