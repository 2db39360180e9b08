"""The launch files: that they compile, explain themselves, and start what their arguments say.

launch and launch_ros are no wheels, so what needs them runs on an installed ROS only.
"""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
FOLDER = REPOSITORY / "launch"
FILES = sorted(FOLDER.glob("*.launch.py"))
NEEDS_LAUNCH = "needs launch_ros, which comes with an installed ROS (ros-<distro>-launch-ros)"


def declared(tree: ast.AST) -> dict[str, dict[str, ast.expr]]:
    """Argument name -> keywords of its DeclareLaunchArgument."""
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call)]
    return {
        ast.literal_eval(call.args[0]): {k.arg: k.value for k in call.keywords if k.arg}
        for call in calls
        if isinstance(call.func, ast.Name) and call.func.id == "DeclareLaunchArgument"
    }


def assigned(tree: ast.Module, name: str) -> ast.Dict:
    """The dict that is assigned to `name` at the top of a module."""
    for statement in tree.body:
        if isinstance(statement, ast.Assign):
            target: ast.expr = statement.targets[0]
        elif isinstance(statement, ast.AnnAssign):
            target = statement.target
        else:
            continue
        if ast.unparse(target) == name and isinstance(statement.value, ast.Dict):
            return statement.value
    raise AssertionError(f"no {name}")


def keys_of(tree: ast.Module, name: str) -> set[str]:
    return {ast.literal_eval(key) for key in assigned(tree, name).keys if key}


def parse(file: str) -> ast.Module:
    return ast.parse((FOLDER / file).read_text(encoding="utf-8"))


def load(file: str) -> ModuleType:
    """The launch file as a module; skips without launch_ros."""
    pytest.importorskip("launch_ros", reason=NEEDS_LAUNCH)
    path = FOLDER / file
    spec = importlib.util.spec_from_file_location(path.stem.replace(".", "_"), path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An install prefix that holds the source tree's files, first in the ament index."""
    marker = tmp_path / "share" / "ament_index" / "resource_index" / "packages" / "ssvif_ros"
    marker.parent.mkdir(parents=True)
    marker.touch()
    (tmp_path / "share" / "ssvif_ros").symlink_to(REPOSITORY, target_is_directory=True)
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(tmp_path), prepend=":")
    for name in ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("FASTDDS_BUILTIN_TRANSPORTS", raising=False)
    return tmp_path


@pytest.fixture
def context(prefix: Path) -> Any:
    """A launch context in which every argument of fusion.launch.py has its default value."""
    module = load("fusion.launch.py")
    from launch import LaunchContext

    context = LaunchContext()
    for argument in module.generate_launch_description().get_launch_arguments():
        argument.execute(context)
    return context


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.name)
def test_each_launch_file_compiles_and_describes_every_argument(file: Path) -> None:
    source = file.read_text(encoding="utf-8")
    compile(source, str(file), "exec")
    arguments = declared(ast.parse(source))
    assert arguments
    for name, keywords in arguments.items():
        description = ast.literal_eval(keywords["description"])
        assert description.strip().endswith("."), f"{name} of {file.name} has no description"
        assert "default_value" in keywords, f"{name} of {file.name} must be given to start at all"


def test_arguments_for_parameters_are_parameters_that_the_node_has() -> None:
    pytest.importorskip("rclpy", reason="needs rclpy (pip install '.[ros]')")
    from dataclasses import fields

    from ssvif_ros.parameters import Settings, ros_name

    tree = parse("fusion.launch.py")
    arguments = keys_of(tree, "NODE_PARAMETERS")
    assert arguments <= set(declared(tree))
    node_has = {ros_name(field.name) for field in fields(Settings)} | {"use_sim_time"}
    assert arguments <= node_has


def test_arguments_of_the_demo_are_parameters_that_the_cameras_have() -> None:
    tree = parse("demo.launch.py")
    assert keys_of(tree, "CAMERA_PARAMETERS") <= set(declared(tree))
    cameras = ast.parse((REPOSITORY / "ssvif_ros" / "simulated_cameras.py").read_text("utf-8"))
    used = ast.literal_eval(assigned(tree, "CAMERA_PARAMETERS"))
    assert {name for name, _ in used.values()} <= keys_of(cameras, "_DEFAULTS")


def test_an_argument_that_is_left_empty_leaves_the_parameter_file_alone(context: Any) -> None:
    module = load("fusion.launch.py")
    (file,) = module.parameters(context)
    assert Path(file).samefile(REPOSITORY / "config" / "fusion.yaml")


def test_an_argument_that_is_given_goes_before_the_parameter_file(context: Any) -> None:
    module = load("fusion.launch.py")
    context.launch_configurations.update(slop="0.02", model="7", use_sim_time="True")
    _file, changed = module.parameters(context)
    values = {name: parameter.evaluate(context) for name, parameter in changed.items()}
    # "7" names a model, and must not become a number on its way.
    assert values == {"slop": 0.02, "model": "7", "use_sim_time": True}


@pytest.mark.parametrize(
    ("argument", "value"),
    [("slop", "wide"), ("threads", "1.5"), ("use_sim_time", "maybe"), ("params_file", "none.yaml")],
)
def test_a_value_that_cannot_be_read_is_refused_by_name(
    context: Any, argument: str, value: str
) -> None:
    module = load("fusion.launch.py")
    context.launch_configurations[argument] = value
    with pytest.raises(RuntimeError, match=argument):
        module.start(context)


def test_camera_info_is_taken_from_beside_the_image_unless_it_is_named(context: Any) -> None:
    module = load("fusion.launch.py")
    context.launch_configurations["visible_topic"] = "/front/rgb/image_rect"
    assert ("visible/camera_info", "/front/rgb/camera_info") in module.remappings(context)
    context.launch_configurations["visible_info_topic"] = "/info"
    assert ("visible/camera_info", "/info") in module.remappings(context)
    context.launch_configurations["thermal_topic"] = "/ir/image"
    assert ("thermal/camera_info", "/ir/camera_info") in module.remappings(context)


def test_a_calibration_is_given_to_the_node_by_its_full_path(context: Any) -> None:
    module = load("fusion.launch.py")
    context.launch_configurations["calibration"] = "rig.yaml"
    _file, changed = module.parameters(context)
    assert changed["registration.file"].evaluate(context) == str(Path("rig.yaml").absolute())


def test_the_shared_memory_profile_never_replaces_one_that_is_set(
    context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = load("fusion.launch.py")
    assert module.transport(context)
    monkeypatch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", "/mine.xml")
    assert module.transport(context) == []


@pytest.mark.parametrize("cpus", ["two", "0,", "1-0", "-1", "0;1", "99999"])
def test_cpus_that_are_none_are_refused_by_name(context: Any, cpus: str) -> None:
    module = load("fusion.launch.py")
    context.launch_configurations["cpus"] = cpus
    with pytest.raises(RuntimeError, match="cpus"):
        module.start(context)


def test_the_node_runs_on_the_cpus_that_it_is_given(
    context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = load("fusion.launch.py")
    assert module.affinity(context) is None
    context.launch_configurations["cpus"] = "0"
    assert module.affinity(context) == "taskset --cpu-list 0"
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RuntimeError, match="taskset"):
        module.affinity(context)


def test_several_nodes_are_started_each_in_a_scope_and_a_namespace(prefix: Path) -> None:
    module = load("several.launch.py")
    from launch import LaunchContext
    from launch.actions import GroupAction

    context = LaunchContext()
    context.launch_configurations["instances"] = "front, /robot/rear"
    assert [type(action) for action in module.start(context)] == [GroupAction, GroupAction]
    assert module.namespaces("front, /robot/rear") == ["front", "robot/rear"]
    for wrong in ("front,front", "front,", "1st"):
        with pytest.raises(RuntimeError, match="instances"):
            module.namespaces(wrong)


@pytest.mark.parametrize("autostart", ["true", "false"])
def test_only_autostart_asks_the_node_for_transitions(context: Any, autostart: str) -> None:
    module = load("fusion.launch.py")
    from launch.actions import RegisterEventHandler

    context.launch_configurations["autostart"] = autostart
    handlers = [a for a in module.start(context) if isinstance(a, RegisterEventHandler)]
    assert len(handlers) == (7 if autostart == "true" else 0)


def test_building_only_starts_the_build_and_asks_for_no_transition(context: Any) -> None:
    module = load("fusion.launch.py")
    from launch_ros.actions import LifecycleNode, Node

    context.launch_configurations["build_only"] = "true"
    (action,) = module.start(context)
    assert isinstance(action, Node) and not isinstance(action, LifecycleNode)


def test_the_demo_checks_its_files_then_sets_the_transport_then_starts_the_cameras(
    prefix: Path,
) -> None:
    module = load("demo.launch.py")
    from launch.actions import IncludeLaunchDescription, OpaqueFunction

    entities = module.generate_launch_description().entities
    order = [e for e in entities if isinstance(e, (IncludeLaunchDescription, OpaqueFunction))]
    assert [type(e) for e in order] == [OpaqueFunction, IncludeLaunchDescription, OpaqueFunction]


def test_the_demo_refuses_one_file_without_the_other(prefix: Path) -> None:
    module = load("demo.launch.py")
    from launch import LaunchContext

    context = LaunchContext()
    context.launch_configurations.update(visible="day.mp4", thermal="")
    with pytest.raises(RuntimeError, match="belong together"):
        module.check(context)


def test_cameras_that_fail_end_the_demo_with_a_status_that_says_so(prefix: Path) -> None:
    module = load("demo.launch.py")
    from launch import LaunchContext
    from launch.actions import Shutdown

    class Ended:
        returncode = 0

    context = LaunchContext()
    assert isinstance(module.end(Ended(), context)[0], Shutdown)
    Ended.returncode = 1
    with pytest.raises(RuntimeError, match="cameras have failed"):
        module.end(Ended(), context)


@pytest.fixture
def player(prefix: Path, tmp_path: Path) -> Any:
    """Module and context of replay.launch.py with a recording, and `ros2 bag` in the index."""
    module = load("replay.launch.py")
    from launch import LaunchContext

    (prefix / "share" / "ament_index" / "resource_index" / "packages" / "ros2bag").touch()
    (tmp_path / "drive").mkdir()
    context = LaunchContext()
    values = {"bag": str(tmp_path / "drive"), "rate": "1.0", "loop": "false", "start": ""}
    context.launch_configurations.update(values)
    return module, context


def test_a_recording_is_played_with_its_clock_and_as_the_arguments_say(player: Any) -> None:
    module, context = player
    module.check(context)
    bag = context.launch_configurations["bag"]
    plain = ["ros2", "bag", "play", bag, "--clock", "100", "--rate", "1.0"]
    assert module.command(context) == plain
    context.launch_configurations.update(loop="true", rate="0.5", start="3")
    assert module.command(context) == [*plain[:-1], "0.5", "--start-offset", "3", "--loop"]


@pytest.mark.parametrize(
    ("argument", "value"),
    [("bag", ""), ("bag", "nowhere"), ("rate", "0"), ("rate", "fast"), ("rate", "inf"),
     ("start", "-1"), ("loop", "twice")],
)  # fmt: skip
def test_what_cannot_be_played_is_refused_by_name(player: Any, argument: str, value: str) -> None:
    module, context = player
    context.launch_configurations[argument] = value
    with pytest.raises(RuntimeError, match=argument):
        module.check(context)


def test_without_ros2_bag_it_says_what_to_install(player: Any, prefix: Path) -> None:
    module, context = player
    (prefix / "share" / "ament_index" / "resource_index" / "packages" / "ros2bag").unlink()
    try:
        from ament_index_python.packages import get_package_prefix

        get_package_prefix("ros2bag")
    except LookupError:
        pass
    else:
        pytest.skip("this ROS has ros2bag installed below the prefix of the test")
    with pytest.raises(RuntimeError, match="apt install ros-"):
        module.check(context)


def test_the_recording_starts_when_the_node_is_active_and_ends_everything(player: Any) -> None:
    module, context = player
    from launch.actions import ExecuteProcess, Shutdown
    from launch_ros.event_handlers import OnStateTransition

    handlers = [action.event_handler for action in module.play_when_active(context)]
    (start,) = (h for h in handlers if isinstance(h, OnStateTransition))
    assert start.handle_once
    assert any(isinstance(entity, ExecuteProcess) for entity in start.entities)

    class Ended:
        returncode = 0

    assert isinstance(module.played(Ended(), context)[0], Shutdown)
    Ended.returncode = 1
    with pytest.raises(RuntimeError, match="could not be played"):
        module.played(Ended(), context)


def test_the_node_runs_on_the_recording_s_time() -> None:
    tree = ast.unparse(parse("replay.launch.py"))
    assert "launch_arguments={'use_sim_time': 'true'}" in tree
