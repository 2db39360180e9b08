"""Another engine for a node that is fusing: its parameters `engine` and `precision`."""

from __future__ import annotations

import importlib.util
import sys
import threading
import time

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2 (the extra `ros`)")

from fusion_process import RELIABLE_INPUTS, FusionProcess  # noqa: E402
from rcl_interfaces.srv import GetParameters  # noqa: E402
from rclpy.qos import QoSProfile, ReliabilityPolicy  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from std_msgs.msg import Header  # noqa: E402

from ssvif_core.errors import SsvifError  # noqa: E402
from ssvif_core.imaging.thermal_gain import ThermalGain  # noqa: E402
from ssvif_core.inference.engine import ENGINES, EngineOptions, create_engine  # noqa: E402
from ssvif_core.inference.onnxruntime_engine import OnnxRuntimeEngine  # noqa: E402
from ssvif_core.inference.pipeline import Pipeline  # noqa: E402
from ssvif_core.models import open_model  # noqa: E402
from ssvif_ros import engines  # noqa: E402
from ssvif_ros.engine_switch import EngineSwitch  # noqa: E402
from ssvif_ros.images import to_image  # noqa: E402
from ssvif_ros.parameters import Settings  # noqa: E402
from ssvif_ros.processes import ask  # noqa: E402

WITHOUT_TENSORRT = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt") is not None, reason="TensorRT is installed here"
)
WITH_OPENVINO = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="needs the extra `openvino`"
)


class Robot:
    """An active node, and two cameras that send the same pair again and again."""

    def __init__(self, node, executor, log):
        self.node, self.executor, self.sent = node, executor, 0
        random = np.random.default_rng(0)
        self.visible = random.integers(0, 256, (128, 160, 3), dtype=np.uint8)
        self.thermal = random.integers(0, 256, (128, 160), dtype=np.uint8)
        reliable = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
        self.publishers = [
            node.create_publisher(Image, f"{camera}/image_raw", reliable)
            for camera in ("visible", "thermal")
        ]
        self.fusion = FusionProcess(node, executor, log, **RELIABLE_INPUTS).activate()
        self.connected()

    def connected(self):
        """Wait until the node hears both cameras."""
        counts = [publisher.get_subscription_count for publisher in self.publishers]
        assert self.fusion.until(lambda: all(count() for count in counts))

    def frame(self):
        """One pair, and the fused image of it; the next may be sent then."""
        header = Header(stamp=self.node.get_clock().now().to_msg(), frame_id="visible")
        for publisher, image in zip(self.publishers, (self.visible, self.thermal), strict=True):
            publisher.publish(to_image(image, "rgb8" if image.ndim == 3 else "mono8", header))
        self.sent += 1
        assert self.fusion.until(lambda: len(self.fusion.fused) == self.sent), self.said
        return bytes(self.fusion.fused[-1].data)

    def frames_until(self, condition):
        for _ in range(2000):
            if condition():
                return
            self.frame()
            self.fusion.until(condition, 0.03)
        raise AssertionError(self.said)

    @property
    def said(self):
        values = "\n".join(f"{key}: {value}" for key, value in self.fusion.diagnostics.items())
        return f"{values}\n{self.fusion.process.output}"  # pytest cuts what is no string

    def parameter(self, name):
        client = self.node.create_client(GetParameters, "fusion/get_parameters")
        answer = ask(self.executor, client, GetParameters.Request(names=[name]), 20.0)
        self.node.destroy_client(client)
        return answer.values[0].string_value

    def by_hand(self, engine, precision):
        """What an engine makes of the pair, and what it says of itself."""
        options = EngineOptions(threads=1, precision=precision, height=128, width=160)
        made, _ = create_engine(open_model("tiny"), engine, options)
        fused, said = made.infer(self.visible, self.thermal)[0].tobytes(), made.describe()
        made.close()
        return fused, {key: said[key] for key in ("engine", "precision", "version")}

    def nothing_was_lost(self):
        values = self.fusion.settled()
        lost = ("dropped_by_worker", "bad_frames", "unpaired_visible", "unpaired_thermal")
        assert {key: int(values[key]) for key in lost} == dict.fromkeys(lost, 0)
        assert int(values["fused"]) == self.sent


@pytest.fixture
def robot(ros_domain, tmp_path):
    node, executor = ros_domain
    made = Robot(node, executor, tmp_path / "fusion.log")
    yield made
    made.fusion.close()


@pytest.mark.parametrize(
    ("name", "value", "engine", "precision"),
    [
        ("precision", "fp16", "onnxruntime", "fp16"),
        pytest.param("engine", "openvino", "openvino", "auto", marks=WITH_OPENVINO),
    ],
)
def test_another_engine_takes_over_between_two_frames(robot, name, value, engine, precision):
    before, _ = robot.by_hand("onnxruntime", "fp32")
    after, about = robot.by_hand(engine, precision)
    assert robot.frame() == before
    assert robot.fusion.until(lambda: "engine_choice" in robot.fusion.diagnostics)
    assert robot.fusion.diagnostics["engine_choice"].startswith("onnxruntime, the fastest")
    assert robot.fusion.set(name, value)
    robot.frames_until(lambda: robot.fusion.diagnostics.get("engine_upgrade") == "done")
    assert robot.frame() == after
    assert {bytes(image.data) for image in robot.fusion.fused} == {before, after}
    robot.frames_until(lambda: about.items() <= robot.fusion.diagnostics.items())
    why = "the fastest" if name == "precision" else "as asked for"
    assert robot.fusion.diagnostics["engine_choice"].startswith(f"{engine}, {why}")
    robot.nothing_was_lost()
    # It is the one that the next activation loads, and back again is another switch.
    for transition in ("deactivate", "activate"):
        assert robot.fusion.lifecycle.change(transition), robot.said
    robot.connected()
    assert robot.frame() == after
    assert robot.fusion.set(name, "auto")
    robot.frames_until(lambda: bytes(robot.fusion.fused[-1].data) == before)


def test_an_engine_that_was_built_meanwhile_takes_over_and_is_said(monkeypatch):
    """TensorRT needs a GPU: what builds is a process that ends, what it built is an fp16 file."""
    made = ENGINES["onnxruntime"]
    monkeypatch.setitem(ENGINES, "tensorrt", made)
    monkeypatch.setattr(engines, "_command", lambda *_: [sys.executable, "-c", ""])
    settings = Settings(engine="auto", tensorrt__build_on_start=True, model="tiny")
    model = open_model("tiny")
    pipeline = Pipeline(made(model, EngineOptions(threads=1)), ThermalGain())
    switch = EngineSwitch(model, settings, "onnxruntime for now", pipeline, lambda *_: None)
    pair = np.full((48, 64, 3), 90, np.uint8), np.full((48, 64), 40, np.uint8)
    deadline = time.monotonic() + 60
    while switch.state != "done" and time.monotonic() < deadline:
        pipeline.process(*pair)
    pipeline.process(*pair)
    assert pipeline.engine.describe()["precision"] == "fp16"
    assert switch.why == "tensorrt, built while the node ran" and switch.problem == ""
    switch.stop()
    pipeline.close()


@pytest.mark.parametrize("fails", [False, True])
def test_an_engine_that_is_made_for_longer_than_the_configuration_lives_comes_to_nothing(
    monkeypatch, fails
):
    made, gone_back, closed = ENGINES["onnxruntime"], [], []
    model, begun, goes_on = open_model("tiny"), threading.Event(), threading.Event()
    pipeline = Pipeline(made(model, EngineOptions(threads=1)), ThermalGain())

    def told(*kept_and_refused):
        gone_back.append(kept_and_refused)

    switch = EngineSwitch(model, Settings(), "the first", pipeline, told)

    def slow(*_):
        begun.set()
        goes_on.wait(60)
        if fails:
            raise SsvifError("cannot be made")
        engine = made(model, EngineOptions(threads=1))
        monkeypatch.setattr(engine, "close", lambda: closed.append(engine))
        return engine, "late"

    monkeypatch.setattr("ssvif_ros.engine_switch.engine_without_building", slow)
    switch.configure(Settings(precision="fp16"))
    assert begun.wait(60)  # on a busy machine what was only asked for is dropped: that is no end
    stopping = threading.Thread(target=switch.stop)
    stopping.start()
    time.sleep(0.2)  # so that it comes first
    goes_on.set()
    stopping.join(60)
    assert not gone_back and switch.why == "the first"
    assert len(closed) == (0 if fails else 1)
    pipeline.close()


class Failing(OnnxRuntimeEngine):
    """One that can be made and computes nothing; by its name it is given a spare."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.name = "openvino"

    def infer(self, visible, thermal, on_fused=None):
        raise RuntimeError("out of memory")


SMALL = {"threads": 1, "warm_up_width": 64, "warm_up_height": 48}
PAIR = np.full((48, 64, 3), 90, np.uint8), np.full((48, 64), 40, np.uint8)


def comes_true(condition):
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def test_where_an_engine_fails_the_newest_that_worked_is_the_one_to_go_back_to(monkeypatch):
    monkeypatch.setitem(ENGINES, "openvino", Failing)
    model, gone_back = open_model("tiny"), []
    pipeline = Pipeline(ENGINES["onnxruntime"](model, EngineOptions(threads=1)), ThermalGain())

    def told(*kept_and_refused):
        gone_back.append(kept_and_refused)

    switch = EngineSwitch(model, Settings(**SMALL), "the first", pipeline, told)
    works = Settings(**SMALL, precision="fp16")
    fails = Settings(**SMALL, engine="openvino")
    switch.configure(works)
    assert comes_true(lambda: switch.state == "done")
    switch.configure(fails)
    assert comes_true(lambda: gone_back) and gone_back == [(works, fails)]
    switch.configure(works)  # as the parameters that go back do: it is the one that runs
    assert switch.state.startswith("failed")
    pipeline.process(*PAIR)
    assert pipeline.engine.describe()["precision"] == "fp16"
    switch.stop()
    pipeline.close()


def test_an_engine_that_is_asked_for_while_another_one_fails_is_tried_next(monkeypatch):
    begun, goes_on = threading.Event(), threading.Event()

    class Slow(Failing):
        def infer(self, visible, thermal, on_fused=None):
            begun.set()
            goes_on.wait(60)
            return super().infer(visible, thermal, on_fused)

    monkeypatch.setitem(ENGINES, "openvino", Slow)
    model, gone_back = open_model("tiny"), []
    pipeline = Pipeline(ENGINES["onnxruntime"](model, EngineOptions(threads=1)), ThermalGain())

    def told(*kept_and_refused):
        gone_back.append(kept_and_refused)

    switch = EngineSwitch(model, Settings(**SMALL), "the first", pipeline, told)
    switch.configure(Settings(**SMALL, engine="openvino"))
    assert begun.wait(60)
    switch.configure(Settings(**SMALL, precision="fp16"))
    goes_on.set()
    assert comes_true(lambda: switch.state not in ("loading", "none"))
    assert (switch.state, gone_back) == ("done", [])
    pipeline.process(*PAIR)
    assert pipeline.engine.describe()["precision"] == "fp16"
    switch.stop()
    pipeline.close()


def test_an_engine_that_cannot_warm_up_changes_nothing_though_it_has_a_spare(monkeypatch):
    made, closed = [], []

    class Noted(Failing):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            made.append(self)

        def close(self):
            closed.append(self)
            super().close()

    monkeypatch.setitem(ENGINES, "openvino", Noted)
    model, gone_back = open_model("tiny"), []
    pipeline = Pipeline(ENGINES["onnxruntime"](model, EngineOptions(threads=1)), ThermalGain())
    runs = pipeline.engine

    def told(*kept_and_refused):
        gone_back.append(kept_and_refused)

    switch = EngineSwitch(model, Settings(**SMALL), "the first", pipeline, told)
    switch.configure(Settings(**SMALL, engine="openvino"))
    assert comes_true(lambda: gone_back or switch.state == "done")
    assert [settings.engine for settings in gone_back[0]] == ["auto", "openvino"]
    assert (
        switch.state == "failed: openvino fails at 64x48: out of memory"
    )  # what has a spare says it so
    assert closed == made and len(made) == 1
    pipeline.process(*PAIR)
    assert pipeline.engine is runs
    switch.stop()
    pipeline.close()


def test_while_the_node_is_inactive_no_engine_is_made_until_it_is_activated(monkeypatch, caplog):
    caplog.set_level("INFO")
    model, make, made = open_model("tiny"), ENGINES["onnxruntime"], []
    pipeline = Pipeline(make(model, EngineOptions(threads=1)), ThermalGain())
    switch = EngineSwitch(model, Settings(threads=1), "the first", pipeline, lambda *_: None)

    def counted(*arguments):
        made.append(arguments)
        return make(*arguments)

    monkeypatch.setitem(ENGINES, "onnxruntime", counted)
    pipeline.release()
    switch.configure(Settings(threads=1, engine="onnxruntime", precision="fp16"))
    switch.configure(Settings(threads=1, precision="fp16"))
    switch._worker.stop()  # so that all that was asked for is done
    assert not made and pipeline.released and "takes over" not in caplog.text
    assert switch.state == "loading"
    switch.resume()
    assert len(made) == 1 and pipeline.engine.describe()["precision"] == "fp16"
    assert (switch.state, "takes over" in caplog.text) == ("done", True)
    switch.stop()
    pipeline.close()


def test_an_engine_that_was_asked_for_meanwhile_and_cannot_be_made_keeps_nobody_inactive(
    monkeypatch,
):
    tried = []

    class Missing(OnnxRuntimeEngine):
        def __init__(self, *_):
            tried.append(self)
            raise SsvifError("not installed")

    monkeypatch.setitem(ENGINES, "openvino", Missing)
    model, gone_back = open_model("tiny"), []
    pipeline = Pipeline(ENGINES["onnxruntime"](model, EngineOptions(threads=1)), ThermalGain())

    def told(*kept_and_refused):
        gone_back.append([settings.engine for settings in kept_and_refused])

    switch = EngineSwitch(model, Settings(threads=1), "the first", pipeline, told)
    pipeline.release()
    asked = Settings(threads=1, engine="openvino")
    switch.configure(asked)
    switch.resume()
    switch._make(asked)  # as the worker does that comes late: given up is given up
    assert len(tried) == 1
    assert gone_back == [["auto", "openvino"]] and "not installed" in switch.state
    assert not pipeline.released and pipeline.engine.name == "onnxruntime"
    switch.stop()
    pipeline.close()


def test_an_engine_that_goes_on_is_warm_for_the_frames_that_came_before(monkeypatch):
    sizes = []
    warm_up = OnnxRuntimeEngine.warm_up

    def seen(engine, *size):
        sizes.append(size)
        warm_up(engine, *size)

    monkeypatch.setattr(OnnxRuntimeEngine, "warm_up", seen)
    model, settings = open_model("tiny"), Settings(threads=1, engine="onnxruntime")
    pipeline = Pipeline(ENGINES["onnxruntime"](model, EngineOptions(threads=1)), ThermalGain())
    switch = EngineSwitch(model, settings, "the first", pipeline, print)
    pipeline.process(np.zeros((96, 128, 3), np.uint8), np.zeros((96, 128), np.uint8))
    pipeline.release()
    switch.resume()
    assert sizes == [(96, 128)]
    switch.stop()
    pipeline.close()


@WITHOUT_TENSORRT
def test_a_build_before_the_start_that_was_killed_says_what_to_do(monkeypatch):
    monkeypatch.setattr(engines, "_command", lambda *_: ["sh", "-c", "kill -KILL $$"])
    with pytest.raises(SsvifError, match=r"without an engine: Killed.*tensorrt\.workspace_mib"):
        engines.build_now(Settings(model="tiny", engine="tensorrt"))


@WITHOUT_TENSORRT
def test_an_engine_that_cannot_be_made_changes_nothing_and_the_reason_is_said(robot):
    before = robot.frame()
    assert robot.fusion.set("engine", "tensorrt")
    robot.frames_until(
        lambda: robot.fusion.diagnostics.get("engine_upgrade", "").startswith("failed")
    )
    assert "TensorRT is not installed" in robot.fusion.diagnostics["engine_upgrade"]
    assert "TensorRT is not installed" in robot.fusion.process.output
    assert robot.fusion.until(lambda: robot.parameter("engine") == "auto")
    assert robot.frame() == before
    robot.nothing_was_lost()
    assert not robot.fusion.set("engine", "abacus")
    # Set while it is inactive: it is tried at the next activation, once, and goes back as well.
    assert robot.fusion.lifecycle.change("deactivate")
    assert robot.fusion.set("engine", "tensorrt")
    assert robot.fusion.lifecycle.change("activate"), robot.said
    assert robot.fusion.until(lambda: robot.parameter("engine") == "auto")
    assert robot.fusion.process.output.count("the engine was not changed") == 2
    robot.connected()
    assert robot.frame() == before


def test_what_was_set_while_an_engine_was_given_up_stays(ros_domain):
    from ssvif_ros.fusion_node import FusionNode

    _, executor = ros_domain
    node = FusionNode()
    executor.add_node(node)
    kept, refused = Settings(), Settings(engine="tensorrt")
    both = [("tensorrt", "auto", "auto"), ("tensorrt", "fp16", "tensorrt")]
    for engine, precision, stays in both:
        for name, value in (("engine", engine), ("precision", precision)):
            node.set_parameters([rclpy.parameter.Parameter(name, value=value)])
        node._keep_engine(kept, refused)
        for _ in range(20):
            executor.spin_once(timeout_sec=0.05)
        assert node.settings.engine == stays
    node.destroy_node()
