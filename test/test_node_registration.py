"""The fusion node with two cameras that are not aligned, as its own process."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (the extra `ros`)")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus  # noqa: E402
from geometry_msgs.msg import TransformStamped  # noqa: E402
from rcl_interfaces.msg import Parameter as ParameterMessage  # noqa: E402
from rcl_interfaces.msg import ParameterType, ParameterValue  # noqa: E402
from rcl_interfaces.srv import SetParameters  # noqa: E402
from rclpy.qos import QoSProfile, ReliabilityPolicy  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image  # noqa: E402
from std_msgs.msg import Header, String  # noqa: E402

from ssvif_core.imaging.calibration import Calibration  # noqa: E402
from ssvif_core.imaging.camera_model import camera_of  # noqa: E402
from ssvif_core.imaging.pinhole import Camera  # noqa: E402
from ssvif_core.imaging.poses import Pose  # noqa: E402
from ssvif_core.imaging.registration import (  # noqa: E402
    HomographyAlignment,
    PlaneAlignment,
    Registration,
)
from ssvif_core.imaging.thermal_gain import ThermalGain  # noqa: E402
from ssvif_core.inference.engine import EngineOptions, create_engine  # noqa: E402
from ssvif_core.inference.pipeline import Pipeline  # noqa: E402
from ssvif_core.models import open_model  # noqa: E402
from ssvif_ros.images import to_image  # noqa: E402
from ssvif_ros.parameters import Settings  # noqa: E402
from ssvif_ros.processes import LifecycleClient, RosProcess, ask, spin_until  # noqa: E402
from ssvif_ros.registration_source import RegistrationSource  # noqa: E402
from ssvif_ros.static_transforms import QOS as TF_QOS  # noqa: E402
from ssvif_ros.static_transforms import StaticTransforms  # noqa: E402

VISIBLE, THERMAL = (160, 128), (96, 80)
K_VISIBLE = [160.0, 0, 80, 0, 160, 64, 0, 0, 1]
K_THERMAL = [140.0, 0, 48, 0, 140, 40, 0, 0, 1]
LENSES = (
    Camera(VISIBLE, np.array(K_VISIBLE), "plumb_bob", (-0.2, 0.05, 0.0, 0.0, 0.0)),
    Camera(THERMAL, np.array(K_THERMAL), "equidistant", (0.05, -0.01, 0.0, 0.0)),
)
POSE = "0.2 0 0 0 0.01 0.02"
START_NS, PERIOD_NS = 1_000_000_000_000, 33_333_333


class Rig:
    """Both cameras with their camera_info, and what the node answers."""

    def __init__(self, node, executor):
        self.node, self.executor, self.stamp_ns = node, executor, START_NS
        qos = QoSProfile(depth=20, reliability=ReliabilityPolicy.RELIABLE)
        self.images = {
            c: node.create_publisher(Image, f"{c}/image_raw", qos) for c in ("visible", "thermal")
        }
        self.infos = {
            c: node.create_publisher(CameraInfo, f"{c}/camera_info", qos)
            for c in ("visible", "thermal")
        }
        self.fused: list[Image] = []
        self.values: dict[str, str] = {}
        self.parts: dict[str, DiagnosticStatus] = {}
        node.create_subscription(Image, "fusion/fused", self.fused.append, qos)
        node.create_subscription(DiagnosticArray, "/diagnostics", self._diagnose, 10)
        rng = np.random.default_rng(3)
        self.visible = rng.integers(0, 256, (*VISIBLE[::-1], 3), dtype=np.uint8)
        self.thermal = rng.integers(0, 256, THERMAL[::-1], dtype=np.uint8)
        self.sent: dict[str, CameraInfo] = {}
        self.silent = ""  # the camera that sends no images

    def _diagnose(self, message):
        for status in message.status:
            self.values.update({v.key: v.value for v in status.values})
            self.parts[status.name.partition(": ")[2]] = status

    @property
    def state(self):
        return self.values.get("registration", "")

    def tell(self, camera, k, d=(-0.1, 0.01, 0.0, 0.0, 0.0)):
        """Publish a camera's camera_info with every pair from now on."""
        width, height = VISIBLE if camera == "visible" else THERMAL
        self.sent[camera] = CameraInfo(
            header=Header(frame_id=f"{camera}_optical_frame"), width=width, height=height,
            distortion_model="plumb_bob", d=d, k=k,
        )  # fmt: skip

    def send(self):
        stamp = rclpy.time.Time(nanoseconds=self.stamp_ns).to_msg()
        for camera, pixels in (("visible", self.visible), ("thermal", self.thermal)):
            header = Header(stamp=stamp, frame_id=f"{camera}_optical_frame")
            encoding = "rgb8" if camera == "visible" else "mono8"
            if camera != self.silent:
                self.images[camera].publish(to_image(pixels, encoding, header))
            if camera in self.sent:
                self.infos[camera].publish(self.sent[camera])
        self.stamp_ns += PERIOD_NS

    def until(self, condition, timeout_s=40.0):
        """Send pairs until the condition holds; whether it ever did."""

        def step():
            self.send()
            self.executor.spin_once(timeout_sec=0.05)
            return condition()

        return spin_until(self.executor, step, timeout_s)

    def shows(self, expected):
        """Whether the newest fused frame is `expected`, bit for bit."""
        return bool(self.fused) and bytes(self.fused[-1].data) == expected.tobytes()

    def set(self, name, value):
        client = self.node.create_client(SetParameters, "fusion/set_parameters")
        number = ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=value)
        request = SetParameters.Request(parameters=[ParameterMessage(name=name, value=number)])
        return ask(self.executor, client, request, 20.0).results[0]


@pytest.fixture
def start(ros_domain, tmp_path):
    node, executor = ros_domain
    processes = []

    def run(**parameters):
        settings = {
            "model": "tiny", "threads": 1, "warm_up_width": VISIBLE[0], "warm_up_height": VISIBLE[1]
        }  # fmt: skip
        log = tmp_path / f"fusion{len(processes)}.log"
        process = RosProcess("ssvif_ros.fusion_node", {**settings, **parameters}, log)
        processes.append(process)
        lifecycle = LifecycleClient(node, executor, "/fusion")
        lifecycle.wait()
        return process, lifecycle, Rig(node, executor)

    yield run
    for process in processes:
        process.stop()


@pytest.fixture(scope="module")
def fuse():
    """Function: what the pipeline makes of a rig's frames with an alignment."""
    engine, _ = create_engine(open_model("tiny"), options=EngineOptions(threads=1))

    def run(rig, alignment):
        registration = Registration(alignment) if alignment else None
        pipeline = Pipeline(engine, ThermalGain(), registration)
        return pipeline.process(rig.visible, rig.thermal, 0.0).fused.copy()

    yield run
    engine.close()


def plane(rig, depth_m):
    cameras = (camera_of(rig.sent[c]) for c in ("visible", "thermal"))
    return PlaneAlignment(*cameras, Pose.from_text(POSE), depth_m)


@pytest.mark.parametrize("lenses", [None, LENSES], ids=["as they come", "lenses undone"])
def test_a_file_registers_from_the_first_frame_on(start, fuse, tmp_path, lenses):
    matrix = np.array([[1.2, 0.02, 20], [-0.01, 1.2, 18], [1e-5, 0, 1]])
    calibration = Calibration(matrix, VISIBLE, THERMAL, lenses=lenses)
    calibration.save(tmp_path / "rig.yaml")
    parameters = {"registration.file": str(tmp_path / "rig.yaml")}
    process, lifecycle, rig = start(**parameters)
    assert lifecycle.change("configure"), process.output
    assert lifecycle.change("activate"), process.output
    expected = fuse(rig, HomographyAlignment(calibration))
    assert rig.until(lambda: rig.fused), process.output
    assert bytes(rig.fused[0].data) == expected.tobytes()
    assert rig.until(lambda: "homography (hand" in rig.state)
    # Nothing else is needed, and nothing that changes is used.
    assert rig.set("registration.depth", 2.0).successful
    assert rig.until(lambda: rig.shows(expected))
    assert "waiting" not in rig.state


def test_camera_info_registers_when_it_comes_and_follows_depth_and_lens(start, fuse):
    process, lifecycle, rig = start(
        **{"registration.extrinsics": POSE, "registration.depth": 5.0, "slop": 0.02}
    )
    assert lifecycle.change("configure"), process.output
    assert lifecycle.change("activate"), process.output
    # Without camera_info the node fuses, resized, and says what it waits for.
    unregistered = fuse(rig, None)
    assert rig.until(lambda: rig.shows(unregistered)), process.output
    assert rig.until(lambda: "waiting for /visible/camera_info" in rig.state)
    assert "thermal is not registered: waiting for /visible/camera_info" in process.output

    rig.tell("visible", K_VISIBLE)
    rig.tell("thermal", K_THERMAL)
    at_5 = fuse(rig, plane(rig, 5.0))
    assert rig.until(lambda: rig.shows(at_5)), process.output
    assert rig.until(lambda: "scene at 5 m" in rig.state)

    # Another depth: every frame meanwhile has the old maps or the new ones, whole.
    fused_before = len(rig.fused)
    assert rig.set("registration.depth", 1.5).successful
    at_1 = fuse(rig, plane(rig, 1.5))
    assert (at_1 != at_5).any()
    assert rig.until(lambda: rig.shows(at_1)), process.output
    assert all(bytes(f.data) in (at_5.tobytes(), at_1.tobytes()) for f in rig.fused[fused_before:])
    assert not rig.set("registration.depth", 0.0).successful

    rig.tell("thermal", [120.0, *K_THERMAL[1:4], 120.0, *K_THERMAL[5:]])
    zoomed = fuse(rig, plane(rig, 1.5))
    assert rig.until(lambda: rig.shows(zoomed)), process.output

    # A driver that forgets its calibration: the last one stays, and the reason is said.
    rig.tell("thermal", [0.0] * 9)
    assert rig.until(lambda: "no focal length" in rig.state)
    rig.tell("thermal", K_THERMAL, d=[np.nan] * 5)
    assert rig.until(lambda: "not finite" in rig.state)
    rig.fused.clear()
    assert rig.until(lambda: rig.shows(zoomed)), process.output


def listen_to_info(rig):
    heard = []
    qos = QoSProfile(depth=20, reliability=ReliabilityPolicy.RELIABLE)
    rig.node.create_subscription(CameraInfo, "fusion/camera_info", heard.append, qos)
    assert spin_until(rig.executor, lambda: rig.node.count_publishers("/fusion/camera_info"), 20.0)
    return heard


@pytest.mark.parametrize("registered", [False, True])
def test_before_a_visible_image_was_seen_thermal_alone_has_no_camera_info(
    start, tmp_path, registered
):
    parameters = {"registration.file": str(tmp_path / "rig.yaml")} if registered else {}
    Calibration(np.diag([1.6, 1.6, 1.0]), VISIBLE, THERMAL).save(tmp_path / "rig.yaml")
    process, lifecycle, rig = start(**parameters)
    assert lifecycle.change("configure"), process.output
    assert lifecycle.change("activate"), process.output
    infos = listen_to_info(rig)
    rig.tell("visible", K_VISIBLE)
    rig.silent = "visible"
    grid = "visible_optical_frame" if registered else "thermal_optical_frame"
    assert rig.until(lambda: rig.fused and rig.fused[-1].header.frame_id == grid), process.output
    wanted = len(rig.fused) + 5
    assert rig.until(lambda: len(rig.fused) > wanted)
    assert rig.fused[-1].header.frame_id == grid and not infos
    rig.silent = ""
    assert rig.until(lambda: infos), process.output
    assert infos[0].header.frame_id == "visible_optical_frame"
    assert (infos[0].width, infos[0].height, list(infos[0].k)) == (*VISIBLE, K_VISIBLE)
    # From then on thermal alone is drawn on the visible grid, and that has a camera_info.
    rig.silent = "visible"
    assert rig.until(lambda: rig.parts["fusion"].message.startswith("thermal alone"))
    infos.clear()
    assert rig.until(lambda: len(infos) > 2)
    assert infos[-1].width == VISIBLE[0]
    assert "may be wrong" not in process.output


def test_a_camera_info_of_another_shape_or_frame_than_the_image_is_warned_about_once(start):
    process, lifecycle, rig = start()
    assert lifecycle.change("configure"), process.output
    assert lifecycle.change("activate"), process.output
    infos = listen_to_info(rig)
    rig.tell("visible", K_VISIBLE)
    rig.sent["visible"].height += 32
    shape = "visible/camera_info is of 160x160 images, and the visible image is 160x128"
    assert rig.until(lambda: shape in process.output)
    rig.sent["visible"].binning_x = 2  # 160x160 as 80x160
    binned = "visible/camera_info is of 80x160 images"
    assert rig.until(lambda: binned in process.output)
    rig.sent["visible"].header.frame_id = "thermal_optical_frame"
    frame = "has the frame 'thermal_optical_frame', and the visible image 'visible_optical_frame'"
    assert rig.until(lambda: frame in process.output)
    infos.clear()
    assert rig.until(lambda: len(infos) > 5)
    for said in (shape, binned, frame):
        assert process.output.count(said) == 1


def test_thermal_that_covers_nothing_is_an_error(start):
    process, lifecycle, rig = start(**{"registration.extrinsics": "200 0 0 0 0 0"})  # in mm
    rig.tell("visible", K_VISIBLE)
    rig.tell("thermal", K_THERMAL)
    assert lifecycle.change("configure"), process.output
    assert lifecycle.change("activate"), process.output
    assert rig.until(lambda: "covers 0 %" in rig.state), process.output
    said = rig.parts["registration"]
    assert said.level == DiagnosticStatus.ERROR
    assert "Nothing can be fused" in said.message and "units" in said.message


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"registration.file": "/nowhere/rig.yaml"}, "Cannot read the calibration"),
        ({"registration.mode": "file"}, "registration.file"),
        ({"registration.extrinsics": "1 2"}, "is no pose"),
    ],
)
def test_a_registration_that_cannot_be_is_refused_at_configure(start, parameters, reason):
    process, lifecycle, _ = start(**parameters)
    assert not lifecycle.change("configure")
    assert reason in process.output
    assert lifecycle.state() == "unconfigured"


def test_without_tf2_msgs_a_pose_from_tf_is_refused_with_what_to_do(start):
    if importlib.util.find_spec("tf2_msgs"):
        pytest.skip("tf2_msgs is installed")
    process, lifecycle, _ = start(**{"registration.mode": "camera_info"})
    assert not lifecycle.change("configure")
    assert "registration.extrinsics" in process.output


def test_the_pose_is_taken_from_tf_static_where_it_is_not_given(start, fuse):
    tf2_msgs = pytest.importorskip("tf2_msgs.msg", reason="needs tf2_msgs, of an installed ROS")
    process, lifecycle, rig = start(**{"registration.mode": "camera_info"})
    rig.tell("visible", K_VISIBLE)
    rig.tell("thermal", K_THERMAL)
    assert lifecycle.change("configure"), process.output
    assert lifecycle.change("activate"), process.output
    assert rig.until(lambda: "/tf_static" in rig.state), process.output
    publisher = rig.node.create_publisher(tf2_msgs.TFMessage, "/tf_static", TF_QOS)
    stamped = transform("visible_optical_frame", "thermal_optical_frame", 0.2)
    publisher.publish(tf2_msgs.TFMessage(transforms=[stamped]))
    cameras = (camera_of(rig.sent[c]) for c in ("visible", "thermal"))
    expected = fuse(rig, PlaneAlignment(*cameras, Pose.from_text("0.2 0 0 0 0 0"), 10.0))
    assert rig.until(lambda: rig.shows(expected)), process.output


def test_transforms_of_other_frames_make_no_maps_anew(ros_domain, monkeypatch):
    node, executor = ros_domain
    tree, changed = StaticTransforms(), []

    def listen(node, on_change):  # what needs tf2_msgs
        changed.append(on_change)
        return tree, node.create_subscription(String, "unused", print, 1)

    monkeypatch.setattr("ssvif_ros.registration_source.listen", listen)
    rig = Rig(node, executor)
    rig.tell("visible", K_VISIBLE)
    rig.tell("thermal", K_THERMAL)
    pipeline = Pipeline(create_engine(open_model("tiny"))[0], ThermalGain())
    source = RegistrationSource(node, pipeline, Settings(registration__mode="camera_info"))
    offered = []
    monkeypatch.setattr(source._worker, "offer", offered.append)

    def hear(*transforms):
        tree.take(transforms)
        changed[0]()
        return len(offered)

    assert rig.until(lambda: "/tf_static" in source.state)
    assert hear(transform("visible_optical_frame", "thermal_optical_frame", 0.2)) == 1
    assert hear(transform("base_link", "wheel", 0.1)) == 1
    assert hear(transform("visible_optical_frame", "thermal_optical_frame", 0.2)) == 1
    assert hear(transform("visible_optical_frame", "thermal_optical_frame", 0.3)) == 2
    source.destroy()
    pipeline.close()


def transform(parent, child, x, yaw=0.0):
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id = parent
    message.transform.translation.x = x
    message.transform.rotation.z = np.sin(yaw / 2)
    message.transform.rotation.w = np.cos(yaw / 2)
    return message


def test_the_pose_of_one_camera_in_the_other_goes_through_the_frames_between():
    tree = StaticTransforms()
    tree.take([transform("base", "mast", 1.0, np.pi / 2), transform("mast", "visible", 0.5)])
    assert tree.pose("visible", "thermal") is None
    tree.take([transform("/mast", "thermal", 0.8, -np.pi / 2)])
    pose = tree.pose("visible", "thermal")
    np.testing.assert_allclose(pose.translation, [0.3, 0, 0], atol=1e-12)
    np.testing.assert_allclose(pose.rotation @ [1, 0, 0], [0, -1, 0], atol=1e-9)
    # The other way, and along one branch.
    back = tree.pose("thermal", "visible")
    np.testing.assert_allclose(back.rotation @ [0, -1, 0], [1, 0, 0], atol=1e-9)
    down = tree.pose("base", "visible")
    np.testing.assert_allclose(down.translation, [1.0, 0.5, 0.0], atol=1e-9)


def test_a_loop_in_the_tree_ends():
    tree = StaticTransforms()
    tree.take([transform("a", "b", 1.0), transform("b", "a", 1.0)])
    assert tree.pose("a", "c") is None


def test_a_region_of_interest_moves_the_centre_of_a_camera():
    info = CameraInfo(width=640, height=480, k=[500.0, 0, 320, 0, 500, 240, 0, 0, 1])
    info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height = 100, 40, 400, 300
    camera = camera_of(info)
    assert isinstance(camera, Camera)
    assert camera.size == (400, 300)
    assert camera.matrix[:2, 2].tolist() == [220.0, 200.0]
