"""The fusion node: parameters -> Pipeline; topics -> pairing -> worker -> publishers.

A thin shell. Callbacks only enqueue; one worker thread decodes, fuses and publishes; whatever a
message does wrong is counted and reported, and the node lives on.
"""

from __future__ import annotations

import logging
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import cv2
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import State
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.time import Time
from sensor_msgs.msg import Image

from ssvif_core.errors import SsvifError
from ssvif_core.imaging.temperature import TemperatureScale
from ssvif_core.imaging.thermal_gain import ThermalGain
from ssvif_core.inference.engine import Engine
from ssvif_core.inference.pipeline import Pipeline
from ssvif_core.inference.upgrade import EngineUpgrade
from ssvif_core.memory import keep_image_buffers
from ssvif_core.models import Model, open_model
from ssvif_core.sync_policies import make_pairing
from ssvif_ros.accounting import FrameAccounts
from ssvif_ros.diagnostics import FrameRecord, Health, diagnostic_array
from ssvif_ros.engines import begin_upgrade, build_now, engine_without_building
from ssvif_ros.headers import OutputHeaders
from ssvif_ros.host import HostMonitor
from ssvif_ros.images import thermal_array, visible_rgb
from ssvif_ros.inputs import Inputs
from ssvif_ros.lifecycle import CarefulLifecycleNode, logged
from ssvif_ros.outputs import Outputs
from ssvif_ros.parameters import ParameterServer, Settings, ros_name
from ssvif_ros.problem_log import ProblemLog
from ssvif_ros.registration_source import RegistrationSource
from ssvif_ros.report import Report, Rooms
from ssvif_ros.snapshot import Snapshot, SnapshotService, snapshot_folder
from ssvif_ros.status import STATUS_PERIOD_S, StatusPublisher
from ssvif_ros.timing import TimingPublisher
from ssvif_ros.wait_set import NO_EVENTS
from ssvif_ros.worker import LatestWorker

__all__ = ["FusionNode", "main"]

REPORT_PERIOD_S = 1.0
STEADY = ClockType.STEADY_TIME
#: Argument by which the executable builds its engine and ends.
BUILD_ONLY = "--build-only"
#: Seconds between two log lines of the same kind.
THROTTLE_S = 5.0


class FusionNode(CarefulLifecycleNode):
    """Lifecycle node that fuses `visible/image_raw` with `thermal/image_raw`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("fusion", **kwargs)
        self._pipeline: Pipeline | None = None
        self._outputs: Outputs | None = None
        self._inputs: Inputs | None = None
        self._worker: LatestWorker[tuple[Image | None, Image | None]] | None = None
        self._status: StatusPublisher | None = None
        self._upgrade: EngineUpgrade | None = None
        self._model: Model | None = None
        self._timing: TimingPublisher | None = None
        self._host: HostMonitor | None = None
        self._health_report: Report | None = None
        self._said: dict[str, object] = {}
        self._registration: RegistrationSource | None = None
        self._complain_after = 0.0
        self._periodic: list[Any] = []
        self._parameter_server = ParameterServer(
            self, lambda: self._pipeline is not None, self._apply_live
        )
        self._diagnostics = self.create_publisher(
            DiagnosticArray, "/diagnostics", 10, event_callbacks=NO_EVENTS
        )
        self._problems = ProblemLog(self.get_logger())
        self._snapshots = SnapshotService(
            self,
            lambda: self._worker is not None,
            lambda: snapshot_folder(self.settings.snapshot_folder),
        )
        _forward_log(self)

    @property
    def settings(self) -> Settings:
        return self._parameter_server.settings

    # -- transitions ---------------------------------------------------------------------------

    @logged
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        s = self.settings
        self._model = model = open_model(s.model)
        engine, why = self._ready_engine(model)
        self._pipeline = Pipeline(engine, ThermalGain())
        self._registration = RegistrationSource(self, self._pipeline, s)
        self._upgrade = begin_upgrade(model, s, self._pipeline)
        self._outputs = Outputs(self, model.card)
        self._timing = TimingPublisher(self)
        self._status = StatusPublisher(self)
        self._headers = OutputHeaders()
        self._health = Health()
        self._accounts = FrameAccounts()
        self._apply_live(s)
        self.get_logger().info(
            f"configured: model {model.card.name} ({model.card.mode} masks), engine {why}, "
            f"{engine.describe()['precision']}, {engine.describe()['threads']} threads"
        )
        return TransitionCallbackReturn.SUCCESS

    def _ready_engine(self, model: Model) -> tuple[Engine, str]:
        """An engine that needs no building, warmed up, and why that one."""
        engine, why = engine_without_building(model, self.settings)
        engine.warm_up(self.settings.warm_up_height, self.settings.warm_up_width)
        return engine, why

    @logged
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        assert self._outputs is not None and self._pipeline is not None and self._model is not None
        assert self._registration is not None
        if self._pipeline.released:
            self._pipeline.resume(self._ready_engine(self._model)[0])
        result = super().on_activate(state)
        s = self.settings
        pairing = make_pairing(s.sync__policy, queue_size=s.queue_size)
        self._worker = LatestWorker(self._fuse, self._report_bad_frame)
        worker = self._worker
        transports = {"visible": s.visible_transport, "thermal": s.thermal_transport}
        self._inputs = Inputs(
            self,
            pairing,
            transports,
            lambda v, t: worker.offer((v, t)),
            self._report_bad_message,
        )
        self._apply_live(s)
        self._host = HostMonitor()
        self._health_report = Report(
            Rooms(
                *(self._inputs, self._health, self._pipeline, self._model.card, self._upgrade),
                registration=self._registration,
                host=self._host,
                counts=lambda: self._accounts.values(self._inputs, self._worker),
            )
        )
        self._periodic = [
            self.create_timer(STATUS_PERIOD_S, self._say_status),
            # On a clock that goes on while simulated time stands still: it is alive, and says so.
            self.create_timer(REPORT_PERIOD_S, self._report, clock=Clock(clock_type=STEADY)),
        ]
        self._outputs.publish_label_info(self.get_clock().now())
        return result

    @logged
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._stop()
        if self._pipeline is not None:  # another program may need the GPU now
            self._pipeline.release()
        if self._status is not None:
            self._status.inactive()
        return super().on_deactivate(state)

    @logged
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._free()
        return TransitionCallbackReturn.SUCCESS

    @logged
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._stop()
        self._free()
        return TransitionCallbackReturn.SUCCESS

    def _stop(self) -> None:
        """Stop listening and working; what was being fused is still published."""
        for timer in self._periodic:
            self.destroy_timer(timer)
        self._periodic = []
        if self._inputs is not None:
            self._inputs.destroy()
        if self._worker is not None:
            self._worker.stop()
        if self._inputs is not None and self._worker is not None:
            self._accounts.close(self._inputs, self._worker)
        self._inputs = self._worker = None
        if self._host is not None:
            self._host.stop()
            self._host = None
        self._health_report = None

    def undo(self, state: LifecycleState) -> None:
        """After a transition that failed: leave nothing of it behind. `state`: from where."""
        self._stop()
        if state.state_id == State.PRIMARY_STATE_UNCONFIGURED:
            self._free()

    def _free(self) -> None:
        if self._registration is not None:
            self._registration.destroy()
            self._registration = None
        if self._upgrade is not None:
            self._upgrade.stop()
            self._upgrade = None
        if self._pipeline is not None:
            self._pipeline.close()
            self._pipeline = None
        if self._outputs is not None:
            self._outputs.destroy()
            self._outputs = None
        if self._timing is not None:
            self._timing.destroy()
            self._timing = None
        if self._status is not None:
            self._status.destroy()
            self._status = None

    def destroy_node(self) -> None:
        self._stop()
        self._free()
        super().destroy_node()

    # -- frames --------------------------------------------------------------------------------

    def _fuse(self, pair: tuple[Image | None, Image | None]) -> None:
        """Worker thread: messages to arrays, pipeline, arrays to messages."""
        visible_message, thermal_message = pair
        assert self._pipeline is not None and self._outputs is not None
        start = time.perf_counter()
        visible = self._decoded("visible", visible_rgb, visible_message)
        thermal = self._decoded("thermal", thermal_array, thermal_message)
        decoded = time.perf_counter()
        settings = self.settings
        header = self._headers.of(visible_message, thermal_message, settings.thermal_offset)
        visible_ns = thermal_ns = Time.from_msg(header.stamp).nanoseconds
        if thermal_message is not None:
            thermal_ns = Time.from_msg(thermal_message.header.stamp).nanoseconds
        result = self._pipeline.process(
            visible,
            thermal,
            thermal_ns * 1e-9,
            passthrough=settings.on_missing == "passthrough",
        )
        processed = time.perf_counter()
        info = self._inputs.info if self._inputs is not None else None
        self._outputs.publish(result, header, info, settings)
        now = self.get_clock().now().nanoseconds
        both = visible is not None and thermal is not None
        delta_ns = thermal_ns + settings.thermal_offset * 1e9 - visible_ns
        record = FrameRecord(
            latency_ms=(now - visible_ns) * 1e-6,
            delta_ms=delta_ns * 1e-6 if both else None,
            decode_ms=(decoded - start) * 1e3,
            publish_ms=(time.perf_counter() - processed) * 1e3,
            times=result.times,
        )
        self._health.frame(now * 1e-9, record)
        if self._timing is not None:
            self._timing.publish(visible_ns * 1e-9, record)
        self._snapshots.offer(
            lambda: Snapshot.of(pair, (visible, thermal), result, self._about(record))
        )

    def _decoded(self, camera: str, decode: Callable[[Any], Any], message: Image | None) -> Any:
        try:
            return None if message is None else decode(message)
        except SsvifError as error:
            raise SsvifError(f"bad {camera} frame: {error}") from error

    def _about(self, record: FrameRecord) -> dict[str, object]:
        """What ~/snapshot saves beside the images."""
        assert self._pipeline is not None and self._model is not None
        return {
            "timing": asdict(record),
            "parameters": {ros_name(k): v for k, v in asdict(self.settings).items()},
            "model": self._model.card.content,
            "engine": self._pipeline.engine.describe(),
            "diagnostics": self._said,
        }

    def _report_bad_frame(self, error: Exception) -> None:
        if not self.context.ok():  # a signal took ROS away while this frame was being fused
            return
        expected = isinstance(error, SsvifError)
        self._health.bad_frame(str(error) if expected else f"a bug: {error!r} (see the log)")
        text = str(error)
        if not expected:
            text = "a bug, please report it: " + "".join(traceback.format_exception(error))
        self.get_logger().error(f"frame dropped: {text}", throttle_duration_sec=THROTTLE_S)

    def _report_bad_message(self, reason: str) -> None:
        self._health.bad_message(reason)
        now = time.monotonic()
        if now >= self._complain_after:  # rclpy takes 1 ms to find that it need not log
            self._complain_after = now + THROTTLE_S
            self.get_logger().error(f"message dropped: {reason}")

    def _apply_live(self, settings: Settings) -> None:
        """Hand live parameters to the rooms that use them; each reads them once a frame."""
        if self._pipeline is None:
            return
        scale = TemperatureScale(settings.gain__kelvin_per_count, settings.gain__celsius_at_zero)
        self._pipeline.gain.configure(
            mode=settings.gain__mode,
            low=settings.gain__low,
            high=settings.gain__high,
            unit=settings.gain__unit,
            scale=scale,
            low_percentile=settings.gain__low_percentile,
            high_percentile=settings.gain__high_percentile,
            plateau=settings.gain__plateau,
            time_constant_s=settings.gain__time_constant,
        )
        self._pipeline.cleaning.bad_pixels = settings.thermal__bad_pixels
        self._pipeline.cleaning.stripes = settings.thermal__stripes
        if self._registration is not None:
            self._registration.configure(settings)
        if self._inputs is not None:
            self._inputs.synchronizer.configure(
                slop_s=settings.slop,
                max_wait_s=settings.max_wait,
                thermal_offset_s=settings.thermal_offset,
                max_thermal_age_s=settings.max_thermal_age,
            )
            self._inputs.synchronizer.configure_presence(
                missing_after_s=settings.missing_after,
                frozen_after_s=settings.frozen_after,
                singles=settings.on_missing != "stop",
            )

    def _say_status(self) -> None:
        """Some times a second: say which cameras live, if that has changed."""
        assert self._inputs is not None and self._status is not None
        presence = self._inputs.synchronizer.presence
        if presence is not None:
            self._status.update(presence, self.settings)

    # -- health --------------------------------------------------------------------------------

    def _report(self) -> None:
        """Once a second: publish /diagnostics, log what it calls wrong."""
        assert self._health_report is not None
        now = self.get_clock().now()
        statuses = self._health_report.statuses(self.settings, now.nanoseconds * 1e-9)
        self._said = {key: value for status in statuses for key, value in status.values.items()}
        self._problems.look(statuses, time.monotonic())
        self._diagnostics.publish(
            diagnostic_array(now, self.get_fully_qualified_name(), self.get_name(), statuses)
        )


def _forward_log(node: FusionNode) -> None:
    """What `ssvif_core` logs appears in the node's log."""

    class Forward(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = record.getMessage()
            logger = node.get_logger()
            if record.levelno >= logging.WARNING:
                logger.warning(text)
            else:
                logger.info(text)

    core = logging.getLogger("ssvif")
    core.handlers = [Forward()]
    core.setLevel(logging.INFO)
    core.propagate = False


def main(args: list[str] | None = None) -> int:
    """Entry point of `ros2 run ssvif_ros fusion_node`. Returns the exit status."""
    keep_image_buffers()
    cv2.setNumThreads(1)  # OpenCV's threads would spin beside the engine's
    rclpy.init(args=args)
    try:
        node = FusionNode()
    except (InvalidParameterValueException, InvalidParameterTypeException) as error:
        print(f"fusion_node: {error}", file=sys.stderr)
        rclpy.try_shutdown()
        return 1
    if BUILD_ONLY in (args or sys.argv):
        return _build_only(node)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        _spin(node, executor)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


def _build_only(node: FusionNode) -> int:
    try:
        return build_now(node.settings)
    except SsvifError as error:
        node.get_logger().error(str(error))
        return 1
    except KeyboardInterrupt:
        return 1
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


def _spin(node: FusionNode, executor: SingleThreadedExecutor) -> None:
    """Spin, and go on where rclpy raises: the node must live.

    On kilted a message that is being converted when a signal comes raises RuntimeError: the end
    follows then.
    """
    while rclpy.ok():
        try:
            executor.spin()
        except RuntimeError as error:  # RCLError is one
            if rclpy.ok():
                node.get_logger().error(f"rclpy: {error}", throttle_duration_sec=THROTTLE_S)


if __name__ == "__main__":
    sys.exit(main())
