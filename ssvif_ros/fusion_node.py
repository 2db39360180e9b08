"""The fusion node: parameters -> Pipeline; topics -> pairing -> worker -> publishers.

A thin shell. Callbacks only enqueue; one worker thread decodes, fuses and publishes; whatever a
message does wrong is counted and reported, and the node lives on.
"""

from __future__ import annotations

import functools
import logging
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

import cv2
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.time import Time
from sensor_msgs.msg import Image

from ssvif_core.errors import SsvifError
from ssvif_core.imaging.thermal_gain import ThermalGain
from ssvif_core.inference.fallback import FAILURES_IN_ROW
from ssvif_core.inference.pipeline import Pipeline
from ssvif_core.inference.upgrade import EngineUpgrade
from ssvif_core.models import open_model
from ssvif_core.sync_policies import make_pairing
from ssvif_ros.accounting import FrameAccounts
from ssvif_ros.diagnostics import FrameRecord, Health, diagnostic_array
from ssvif_ros.engines import begin_upgrade, build_now, engine_without_building
from ssvif_ros.headers import OutputHeaders
from ssvif_ros.images import thermal_array, visible_rgb
from ssvif_ros.inputs import Inputs
from ssvif_ros.memory import keep_image_buffers
from ssvif_ros.outputs import Outputs
from ssvif_ros.parameters import ParameterServer, Settings
from ssvif_ros.registration_source import RegistrationSource
from ssvif_ros.status import STATUS_PERIOD_S, StatusPublisher, status_of, status_values
from ssvif_ros.worker import LatestWorker

__all__ = ["FusionNode", "main"]

REPORT_PERIOD_S = 1.0
STEADY = ClockType.STEADY_TIME
#: Argument by which the executable builds its engine and ends.
BUILD_ONLY = "--build-only"
#: Seconds between two log lines of the same kind.
THROTTLE_S = 5.0

Transition = Callable[[Any, LifecycleState], TransitionCallbackReturn]


def _logged(transition: Transition) -> Transition:
    """Rclpy swallows what a transition raises without a word; say it, and refuse the transition."""

    @functools.wraps(transition)
    def wrapper(node: FusionNode, state: LifecycleState) -> TransitionCallbackReturn:
        try:
            return transition(node, state)
        except SsvifError as error:
            node.get_logger().error(f"{transition.__name__}: {error}")
        except Exception:
            node.get_logger().error(f"{transition.__name__}: {traceback.format_exc()}")
        return TransitionCallbackReturn.FAILURE

    return wrapper


class FusionNode(LifecycleNode):
    """Lifecycle node that fuses `visible/image_raw` with `thermal/image_raw`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("fusion", **kwargs)
        self._pipeline: Pipeline | None = None
        self._outputs: Outputs | None = None
        self._inputs: Inputs | None = None
        self._worker: LatestWorker[tuple[Image | None, Image | None]] | None = None
        self._status: StatusPublisher | None = None
        self._upgrade: EngineUpgrade | None = None
        self._registration: RegistrationSource | None = None
        self._complain_after = 0.0
        self._periodic: list[Any] = []
        self._parameter_server = ParameterServer(
            self, lambda: self._pipeline is not None, self._apply_live
        )
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        _forward_log(self)

    @property
    def settings(self) -> Settings:
        return self._parameter_server.settings

    # -- transitions ---------------------------------------------------------------------------

    @_logged
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        s = self.settings
        model = open_model(s.model)
        engine, why = engine_without_building(model, s)
        engine.warm_up(s.warm_up_height, s.warm_up_width)
        self._pipeline = Pipeline(engine, ThermalGain())
        try:
            self._registration = RegistrationSource(self, self._pipeline, s)
        except SsvifError:
            self._free()
            raise
        self._upgrade = begin_upgrade(model, s, self._pipeline)
        self._outputs = Outputs(self, model.card)
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

    @_logged
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        assert self._outputs is not None
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
        self._periodic = [
            self.create_timer(STATUS_PERIOD_S, self._say_status),
            # On a clock that goes on while simulated time stands still: it is alive, and says so.
            self.create_timer(REPORT_PERIOD_S, self._report, clock=Clock(clock_type=STEADY)),
        ]
        self._outputs.publish_label_info(self.get_clock().now())
        return result

    @_logged
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._stop()
        if self._status is not None:
            self._status.inactive()
        return super().on_deactivate(state)

    @_logged
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._free()
        return TransitionCallbackReturn.SUCCESS

    @_logged
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
        self._health.frame(
            now * 1e-9,
            FrameRecord(
                latency_ms=(now - visible_ns) * 1e-6,
                delta_ms=delta_ns * 1e-6 if both else None,
                decode_ms=(decoded - start) * 1e3,
                publish_ms=(time.perf_counter() - processed) * 1e3,
                times=result.times,
            ),
        )

    def _decoded(self, camera: str, decode: Callable[[Any], Any], message: Image | None) -> Any:
        try:
            return None if message is None else decode(message)
        except SsvifError as error:
            raise SsvifError(f"bad {camera} frame: {error}") from error

    def _report_bad_frame(self, error: Exception) -> None:
        if not self.context.ok():  # a signal took ROS away while this frame was being fused
            return
        expected = isinstance(error, SsvifError)
        text = str(error) if expected else "".join(traceback.format_exception(error))
        self._health.bad_frame(text)
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
        gain = self._pipeline.gain
        gain.mode = settings.gain__mode
        gain.low, gain.high = settings.gain__low, settings.gain__high
        gain.low_percentile = settings.gain__low_percentile
        gain.high_percentile = settings.gain__high_percentile
        gain.time_constant_s = settings.gain__time_constant
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
        """Once a second: warn of silent cameras, publish /diagnostics."""
        assert self._inputs is not None and self._worker is not None and self._pipeline is not None
        silent = self._inputs.silent(self.settings.warn_after)
        if silent:  # in one line: rclpy throttles by the place of the call, not by the text
            text = " ".join(f"{camera} camera: {reason}" for camera, reason in silent.items())
            self.get_logger().warning(text, throttle_duration_sec=THROTTLE_S)
        now_s = self.get_clock().now().nanoseconds * 1e-9
        values: dict[str, object] = {
            **{f"{c}_rate_hz": r.rate_hz(now_s) for c, r in self._inputs.rates.items()},
            **self._accounts.values(self._inputs, self._worker),
            **self._health.values(now_s),
            **self._pipeline.engine.describe(),
            "engine_upgrade": self._upgrade.state if self._upgrade else "none",
            "registration": self._registration.state if self._registration else "none",
        }
        presence = self._inputs.synchronizer.presence
        level, message = DiagnosticStatus.OK, "fusing"
        if presence is not None:
            values |= status_values(presence, self.settings)
            status = status_of(presence, self.settings)
            level, message = status.level, status.message
        problems = [*silent.values(), values.get("engine_fallback")]
        if self._registration is not None and self._registration.problem:
            self._registration.warn()
            problems.append(self._registration.state)
        for problem in filter(None, problems):
            level, message = max(level, DiagnosticStatus.WARN), f"{message}; {problem}"
        if self._health.failed_in_row >= FAILURES_IN_ROW:
            level = DiagnosticStatus.ERROR
            message = f"No frame could be fused: {values['last_error']}"
        self._diagnostics.publish(
            diagnostic_array(
                self.get_clock().now(),
                self.get_fully_qualified_name() + ": fusion",
                self.get_name(),
                level,
                message,
                values,
            )  # fmt: skip
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

    On jazzy a request for an invalid transition raises RCLError, a RuntimeError. On kilted a
    message that is being converted when a signal comes raises RuntimeError: the end follows then.
    """
    while rclpy.ok():
        try:
            executor.spin()
        except RuntimeError as error:
            if rclpy.ok():
                node.get_logger().error(f"refused: {error}", throttle_duration_sec=THROTTLE_S)


if __name__ == "__main__":
    sys.exit(main())
