"""The fusion node: parameters -> Pipeline; topics -> pairing -> worker -> publishers.

A thin shell. Callbacks only enqueue; one worker thread decodes, fuses and publishes; whatever a
message does wrong is counted and reported, and the node lives on.
"""

from __future__ import annotations

import ssvif_ros.node_memory  # noqa: F401

# isort: split

import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import cv2
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import State
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter

from ssvif_core.errors import SsvifError
from ssvif_core.imaging.thermal_gain import ThermalGain
from ssvif_core.inference.pipeline import Pipeline
from ssvif_core.models import Model, open_model
from ssvif_core.sync_policies import make_pairing
from ssvif_ros.accounting import FrameAccounts
from ssvif_ros.clock_watch import ClockWatch
from ssvif_ros.core_log import forward_core_log, stop_core_log
from ssvif_ros.diagnostics import diagnostic_array
from ssvif_ros.ending import undisturbed, until_signal
from ssvif_ros.engine_switch import EngineSwitch
from ssvif_ros.engines import build_now, engine_without_building, warm_up
from ssvif_ros.executor import QuietExecutor, spin_on
from ssvif_ros.frames import FrameFuser, Pair
from ssvif_ros.host import HostMonitor
from ssvif_ros.inputs import Inputs
from ssvif_ros.lifecycle import CarefulLifecycleNode, logged
from ssvif_ros.live import apply_to_pipeline, apply_to_synchronizer
from ssvif_ros.outputs import Outputs
from ssvif_ros.parameters import ParameterServer, Settings
from ssvif_ros.problem_log import ProblemLog
from ssvif_ros.registration_source import RegistrationSource
from ssvif_ros.report import Report, Rooms
from ssvif_ros.snapshot import SnapshotService, snapshot_folder
from ssvif_ros.status import StatusPublisher
from ssvif_ros.timing import TimingPublisher
from ssvif_ros.wait_set import NO_EVENTS
from ssvif_ros.worker import LatestWorker

__all__ = ["FusionNode", "main"]

REPORT_PERIOD_S = 1.0
STEADY = ClockType.STEADY_TIME
#: Argument by which the executable builds its engine and ends.
BUILD_ONLY = "--build-only"


class FusionNode(CarefulLifecycleNode):
    """Lifecycle node that fuses `visible/image_raw` with `thermal/image_raw`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("fusion", **kwargs)
        self._pipeline: Pipeline | None = None
        self._outputs: Outputs | None = None
        self._inputs: Inputs | None = None
        self._worker: LatestWorker[Pair] | None = None
        self._fuser: FrameFuser | None = None
        self._status: StatusPublisher | None = None
        self._switch: EngineSwitch | None = None
        self._model: Model | None = None
        self._timing: TimingPublisher | None = None
        self._host: HostMonitor | None = None
        self._clock_watch: ClockWatch | None = None
        self._health_report: Report | None = None
        self._registration: RegistrationSource | None = None
        self._report_timer: Any = None
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
        forward_core_log(self)

    @property
    def settings(self) -> Settings:
        """The parameters of now."""
        return self._parameter_server.settings

    # -- transitions ---------------------------------------------------------------------------

    @logged
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        s = self.settings
        self._model = model = open_model(s.model)
        engine, why = engine_without_building(model, s)
        warm_up(engine, s.warm_up_height, s.warm_up_width)
        self._pipeline = Pipeline(engine, ThermalGain())
        self._registration = RegistrationSource(self, self._pipeline, s)
        self._switch = EngineSwitch(model, s, why, self._pipeline, self._keep_engine)
        self._outputs = Outputs(self, model.card)
        self._timing = TimingPublisher(self)
        self._status = StatusPublisher(self)
        self._status.inactive()
        self._accounts = FrameAccounts()
        self._fuser = FrameFuser(
            self,
            self._pipeline,
            model.card,
            self._outputs,
            self._timing,
            self._snapshots,
            settings=lambda: self.settings,
            camera_info=lambda: None if self._inputs is None else self._inputs.info,
        )
        self._apply_live(s)
        self.get_logger().info(
            f"configured: model {model.card.name} ({model.card.mode} masks), engine {why}, "
            f"{engine.describe()['precision']}, {engine.describe()['threads']} threads"
        )
        return TransitionCallbackReturn.SUCCESS

    @logged
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        assert self._outputs is not None and self._pipeline is not None and self._model is not None
        assert self._registration is not None and self._fuser is not None
        assert self._switch is not None
        if self._pipeline.released:
            self._switch.resume()
        result = super().on_activate(state)
        s = self.settings
        fuser = self._fuser
        self._clock_watch = ClockWatch(self.get_clock())
        pairing = make_pairing(s.sync__policy, queue_size=s.queue_size)
        self._worker = LatestWorker(fuser.fuse, fuser.report_bad_frame)
        worker = self._worker
        transports = {"visible": s.visible_transport, "thermal": s.thermal_transport}
        self._inputs = Inputs(
            self,
            pairing,
            transports,
            lambda v, t: worker.offer((v, t)),
            fuser.report_bad_message,
            self._say_status,
        )
        apply_to_synchronizer(s, self._inputs.synchronizer)
        self._host = HostMonitor()
        self._health_report = Report(
            Rooms(
                clock=self._clock_watch,
                inputs=self._inputs,
                health=fuser.health,
                pipeline=self._pipeline,
                card=self._model.card,
                switch=self._switch,
                registration=self._registration,
                host=self._host,
                counts=lambda: self._accounts.values(self._inputs, self._worker),
            )
        )
        # On a clock that goes on while simulated time stands still: it is alive, and says so.
        self._report_timer = self.create_timer(
            REPORT_PERIOD_S, self._report, clock=Clock(clock_type=STEADY)
        )
        self._outputs.publish_label_info(self.get_clock().now())
        return result

    @logged
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._rest(state)

    def _rest(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Be inactive, as a whole."""
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
        self.give_back()
        return TransitionCallbackReturn.SUCCESS

    def undo(self, state: LifecycleState) -> None:
        if state.state_id == State.PRIMARY_STATE_UNCONFIGURED:
            self.give_back()
        else:
            self._rest(state)

    def give_back(self) -> None:
        with ExitStack() as to_do:  # all of it, the last first, though one raises
            to_do.callback(self._free)
            if self._status is not None:
                to_do.callback(self._status.inactive)
            to_do.callback(self._stop)

    def _stop(self) -> None:
        """Stop listening and working; what was being fused is still published."""
        inputs, worker = self._inputs, self._worker
        with ExitStack() as to_do:
            to_do.callback(self._forget, "_inputs", "_worker", "_host", "_health_report")
            if self._host is not None:
                to_do.callback(self._host.stop)
            if inputs is not None and worker is not None:
                to_do.callback(self._accounts.close, inputs, worker)
            if worker is not None:
                to_do.callback(worker.stop)
            if inputs is not None:
                to_do.callback(inputs.destroy)
            if self._report_timer is not None:
                to_do.callback(self._forget, "_report_timer")
                to_do.callback(self.destroy_timer, self._report_timer)

    def _free(self) -> None:
        """Give back what configure made."""
        made: dict[str, Callable[[Any], None]] = {
            "_status": StatusPublisher.destroy,
            "_timing": TimingPublisher.destroy,
            "_outputs": Outputs.destroy,
            "_pipeline": Pipeline.close,
            "_switch": EngineSwitch.stop,
            "_registration": RegistrationSource.destroy,
        }
        with ExitStack() as to_do:
            to_do.callback(self._forget, "_fuser", *made)
            for name, end in made.items():
                if getattr(self, name) is not None:
                    to_do.callback(end, getattr(self, name))

    def _forget(self, *names: str) -> None:
        for name in names:
            setattr(self, name, None)

    def destroy_node(self) -> None:
        with ExitStack() as to_do:
            to_do.callback(super().destroy_node)
            to_do.callback(stop_core_log, self)
            to_do.callback(self._free)
            to_do.callback(self._stop)

    def _apply_live(self, settings: Settings) -> None:
        """Hand live parameters to the rooms that use them."""
        if self._pipeline is None:
            return
        apply_to_pipeline(settings, self._pipeline)
        if self._switch is not None:
            self._switch.configure(settings)
        if self._registration is not None:
            self._registration.configure(settings)
        if self._inputs is not None:
            apply_to_synchronizer(settings, self._inputs.synchronizer)

    def _keep_engine(self, kept: Settings, refused: Settings) -> None:
        """Any thread: have the parameters say which engine goes on, if nobody set them since."""
        names = ("engine", "precision")

        def go_back() -> None:
            if all(getattr(self.settings, name) == getattr(refused, name) for name in names):
                self.set_parameters([Parameter(n, value=getattr(kept, n)) for n in names])

        if self.executor is not None:
            self.executor.create_task(go_back)

    # -- health --------------------------------------------------------------------------------

    def _say_status(self) -> None:
        """Some times a second: say which cameras live, if that has changed."""
        assert self._inputs is not None and self._status is not None
        assert self._clock_watch is not None
        presence = self._inputs.synchronizer.presence
        if presence is not None:
            clock = self._clock_watch.trouble(self.settings.warn_after)
            self._status.update(presence, self.settings, clock)

    def _report(self) -> None:
        """Once a second: publish /diagnostics, log what it calls wrong."""
        assert self._health_report is not None and self._fuser is not None
        assert self._inputs is not None
        self._inputs.look()
        now = self.get_clock().now()
        parts = self._health_report.parts(self.settings, now.nanoseconds * 1e-9)
        self._fuser.said = {k: v for part in parts for k, v in part.values.items()}
        self._problems.look(parts, time.monotonic())
        self._diagnostics.publish(
            diagnostic_array(now, self.get_fully_qualified_name(), self.get_name(), parts)
        )


def main(args: list[str] | None = None) -> int:
    """Entry point of `ros2 run ssvif_ros fusion_node`. Returns the exit status."""
    cv2.setNumThreads(1)  # OpenCV's threads would spin beside the engine's
    return until_signal(lambda: _run(BUILD_ONLY in (args or sys.argv)), args)


def _run(build_only: bool) -> int:
    try:
        node = FusionNode()
    except (InvalidParameterValueException, InvalidParameterTypeException) as error:
        print(f"fusion_node: {error}", file=sys.stderr)
        return 1
    if build_only:
        return _build_only(node)
    executor = QuietExecutor()
    executor.add_node(node)
    try:
        spin_on(node, executor)
    finally:
        with undisturbed():
            node.destroy_node()
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


if __name__ == "__main__":
    sys.exit(main())
