"""Registration by the transforms of a recording: the pose is found where the node finds it."""

from __future__ import annotations

import csv
import gzip
import json
import math

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="needs the extra `bags`")
from rosbags import rosbag1  # noqa: E402
from rosbags.typesys import Stores, get_types_from_msg, get_typestore  # noqa: E402

from ssvif_core.data.bag_files import Bag  # noqa: E402
from ssvif_core.data.bag_writer import BagWriter  # noqa: E402
from ssvif_core.imaging.calibration import Calibration  # noqa: E402
from ssvif_core.imaging.poses import Pose  # noqa: E402
from ssvif_core.imaging.registration import HomographyAlignment  # noqa: E402
from ssvif_core.replay.folder import write_run  # noqa: E402
from ssvif_core.replay.options import ReplayOptions  # noqa: E402
from ssvif_core.replay.recording import Recording  # noqa: E402
from ssvif_core.replay.registration import alignment_of  # noqa: E402
from ssvif_core.replay.run import replay  # noqa: E402
from ssvif_core.replay.settings import NodeSettings  # noqa: E402
from ssvif_core.replay.transforms import recorded_pose  # noqa: E402

SIZE, DEPTH_M = (96, 72), 5.0
FOCAL = 96.0  # of the drawn cameras
START_NS = 1_700_000_000_000_000_000
VISIBLE, THERMAL = "visible_optical_frame", "thermal_optical_frame"
TF = "tf2_msgs/msg/TFMessage"
#: The rig: the visible camera looks forward from the mast, the thermal one sits 0.4 m beside it in
#: the picture's x and is turned by 0.1 rad about the optical axis.
OPTICAL = (-math.pi / 2, 0.0, -math.pi / 2)
RIG = [
    ("base", "mast", (0.1, 0.2, 1.0), (0.0, 0.0, 0.3)),
    ("mast", VISIBLE, (0.0, 0.2, 0.0), OPTICAL),
]
BESIDE = (VISIBLE, THERMAL, (0.4, 0.0, 0.0), (0.0, 0.0, 0.1))
POSE = "0.4 0 0 0 0 0.1"


def quaternion(roll, pitch, yaw):
    """x, y, z, w; textbook formula."""
    (cr, sr), (cp, sp), (cy, sy) = ((math.cos(a / 2), math.sin(a / 2)) for a in (roll, pitch, yaw))
    return (
        sr * cp * cy - cr * sp * sy, cr * sp * cy + sr * cp * sy,
        cr * cp * sy - sr * sp * cy, cr * cp * cy + sr * sp * sy,
    )  # fmt: skip


def message(types, *transforms, ros=2):
    """The fields of a TFMessage of (parent, child, translation, roll pitch yaw)."""
    stamped = []
    for parent, child, translation, angles in transforms:
        stamp = types["builtin_interfaces/msg/Time"](*divmod(START_NS, 10**9))
        sequence = [0] if ros == 1 else []
        stamped.append(
            types["geometry_msgs/msg/TransformStamped"](
                types["std_msgs/msg/Header"](*sequence, stamp, parent), child,
                types["geometry_msgs/msg/Transform"](
                    types["geometry_msgs/msg/Vector3"](*map(float, translation)),
                    types["geometry_msgs/msg/Quaternion"](*quaternion(*angles)),
                ),
            )
        )  # fmt: skip
    return {"transforms": stamped}


def write_transforms(path, *messages):
    """A recording of (topic, transforms...)."""
    types = get_typestore(Stores.ROS2_HUMBLE).types
    with BagWriter(path) as bag:
        for number, (topic, *transforms) in enumerate(messages):
            bag.message(topic, TF, START_NS + number, message(types, *transforms), latched=True)
    return path


def found(path):
    with Bag(path) as bag:
        return recorded_pose(bag, VISIBLE, THERMAL)


def assert_is_the_rig(pose):
    wanted = Pose.from_text(POSE)
    assert pose.translation == pytest.approx(wanted.translation, abs=1e-9)
    assert pose.rotation == pytest.approx(wanted.rotation, abs=1e-9)


# Where the pose is from.


def test_the_pose_goes_through_the_frames_between_and_may_lie_in_several_messages(tmp_path):
    path = write_transforms(tmp_path / "bag", ("/tf_static", *RIG), ("/robot/tf_static", BESIDE))
    pose, source = found(path)
    assert_is_the_rig(pose)
    assert source == "pose from /tf_static"


def test_a_rig_on_tf_that_does_not_move_serves_and_the_node_is_said_not_to_read_it(tmp_path):
    driving = [("odom", "base", (i * 0.5, 0, 0), (0, 0, i * 0.1)) for i in range(5)]
    path = write_transforms(
        tmp_path / "bag", ("/tf_static", *RIG), *[("/tf", move, BESIDE) for move in driving]
    )
    pose, source = found(path)
    assert_is_the_rig(pose)
    assert "/tf, which the node does not read" in source


def test_a_thermal_camera_that_turns_has_no_pose(tmp_path):
    turning = [(VISIBLE, THERMAL, (0.4, 0, 0), (0, 0, i * 0.01)) for i in range(5)]
    path = write_transforms(
        tmp_path / "bag", ("/tf_static", *RIG), *[("/tf", turn) for turn in turning]
    )
    pose, why = found(path)
    assert pose is None
    assert f"on /tf {THERMAL} move" in why
    assert "registration.extrinsics" in why


@pytest.mark.parametrize("whole", [True, False])
def test_a_ros_1_recording_has_its_transforms_too_with_or_without_its_index(tmp_path, whole):
    store = get_typestore(Stores.ROS1_NOETIC)
    text = "geometry_msgs/TransformStamped[] transforms\n"  # the noetic store lacks it
    store.register(get_types_from_msg(text, TF))
    path = tmp_path / "old.bag"
    with rosbag1.Writer(path) as writer:
        connection = writer.add_connection("/tf_static", TF, typestore=store)
        tf = store.types[TF](**message(store.types, *RIG, BESIDE, ros=1))
        writer.write(connection, START_NS, store.serialize_ros1(tf, TF))
    if not whole:
        content = bytearray(path.read_bytes())
        at = content.index(b"index_pos=") + len(b"index_pos=")
        content[at : at + 8] = bytes(8)
        path.write_bytes(content)
    pose, _ = found(path)
    assert_is_the_rig(pose)


# What is made of it.


@pytest.fixture(scope="module")
def rigged(drive, tmp_path_factory):
    """`drive` with /tf_static."""
    path = tmp_path_factory.mktemp("rigged") / "drive"
    types = get_typestore(Stores.ROS2_HUMBLE).types
    with Bag(drive) as bag, BagWriter(path) as writer:
        tf = message(types, *RIG, BESIDE)
        for number, recorded in enumerate(bag.messages([*bag.topics()])):
            if number == 0:
                writer.message("/tf_static", TF, recorded.received_ns, tf, latched=True)
            fields = vars(bag.message(recorded)) | {}
            fields.pop("__msgtype__", None)
            writer.message(recorded.topic, recorded.kind, recorded.received_ns, fields)
    return path


def test_the_pose_from_tf_static_registers_as_a_calibration_file_of_the_same_rig_does(
    rigged, tmp_path
):
    with Recording(rigged) as recording:
        infos = recording.camera_infos()
        by_tf, words = alignment_of("camera_info", "", "", DEPTH_M, infos, recording.pose)
        given, _ = alignment_of("camera_info", "", "0 0.1 0 0 0 0", DEPTH_M, infos, recording.pose)
    assert words.endswith("scene at 5 m, pose from /tf_static")
    # The homography that a plane induces, from thermal to visible pixels (Hartley and Zisserman).
    cosine, sine = math.cos(0.1), math.sin(0.1)
    rotation = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])  # thermal in visible
    matrix = np.array([[FOCAL, 0, 48], [0, FOCAL, 36], [0, 0, 1]])
    shift = np.outer([0.4, 0, 0], [0, 0, 1 / DEPTH_M])
    to_thermal = matrix @ rotation.T @ (np.eye(3) - shift) @ np.linalg.inv(matrix)
    path = tmp_path / "rig.yaml"
    Calibration(np.linalg.inv(to_thermal), SIZE, SIZE).save(path)
    by_file, _ = alignment_of("file", str(path), "", 1.0, {})
    assert isinstance(by_file, HomographyAlignment)
    tf, file, other = (a.coordinates(SIZE, SIZE) for a in (by_tf, by_file, given))
    assert np.abs(tf - file).max() < 0.01  # pixels
    assert np.abs(tf - other).max() > 1.0  # extrinsics go before /tf_static


def rows_with(path, folder, **changes):
    settings = NodeSettings(model="tiny", engine="onnxruntime", threads=1, **changes)
    options = ReplayOptions(settings, metrics_every=0, video=False, pictures=0)
    write_run(replay(path, folder, options, lambda *_: None), folder)
    with gzip.open(folder / "frames.csv.gz", "rt", newline="", encoding="utf-8") as file:
        rows = [(r["visible_stamp_ns"], r["fused_mean"]) for r in csv.DictReader(file)]
    return json.loads((folder / "summary.json").read_text()), rows


def test_replay_takes_the_pose_from_the_recording_as_the_node_does(rigged, drive, tmp_path):
    mode = {"registration__mode": "camera_info", "registration__depth": DEPTH_M}
    summary, rows = rows_with(rigged, tmp_path / "tf", **mode)
    assert summary["registration"].endswith("pose from /tf_static")
    assert not any("registered" in w for w in summary["warnings"])
    _, given = rows_with(rigged, tmp_path / "given", registration__extrinsics=POSE, **mode)
    assert rows == given
    summary, without = rows_with(drive, tmp_path / "without", **mode)
    assert rows != without
    (warning,) = (w for w in summary["warnings"] if "registered" in w)
    assert f"no pose between '{VISIBLE}' and '{THERMAL}' on /tf_static" in warning


def test_two_cameras_in_one_frame_are_told_to_get_their_own(rigged):
    with Recording(rigged) as recording:
        infos = recording.camera_infos()
        infos["thermal"] = infos["visible"]
        alignment, words = alignment_of("camera_info", "", "", 1.0, infos, recording.pose)
    assert alignment is None
    assert f"both camera_info have the frame '{VISIBLE}'" in words
