"""What /diagnostics says, once a second: one function for each line of rqt_robot_monitor.

Reads the rooms of an active node and judges them; a key or a sentence more is a line in the
function of its part. Every sentence says what to do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticStatus

from ssvif_core.inference.pipeline import Pipeline
from ssvif_core.models import ModelCard
from ssvif_core.presence import CAMERAS
from ssvif_core.stamp_gaps import stamp_gaps
from ssvif_ros.clock_watch import ClockWatch
from ssvif_ros.diagnostics import Health, InputRate, Part
from ssvif_ros.engine_switch import EngineSwitch
from ssvif_ros.few_pairs import few_pairs
from ssvif_ros.host import HostMonitor
from ssvif_ros.inputs import Inputs
from ssvif_ros.parameters import Settings
from ssvif_ros.registration_source import RegistrationSource
from ssvif_ros.share import profile_variable
from ssvif_ros.status import reason_of, status_of, status_values

__all__ = ["Report", "Rooms"]

OK = DiagnosticStatus.OK
#: Share of a camera's frames that may be missing: a thermal core's shutter hides some.
LOST_SHARE = 0.1
#: Share of an expected rate below which it is a shortfall.
RATE_SHARE = 0.9
#: Share of the pairs that may come while another is being fused.
DROPPED_SHARE = 0.1
#: Share of the slower camera's frames that must find a partner.
PAIRED_SHARE = 0.5
#: Fewer frames than this have no rate.
FRAMES_NEEDED = 10
#: Counts that tell of pairs, not of frames.
FUSION_COUNTS = ("dropped_by_worker", "in_work")
#: A stamp that is this much older than its arrival, or younger, is of another clock.
AGE_S, AHEAD_S = 1.0, 0.1
TRANSPORT = (
    f"start the camera driver with {profile_variable()}=config/fastdds_shm.xml of this package, or "
    "look at the driver's own rate"
)


@dataclass(frozen=True)
class Rooms:
    """What is read: the parts of one active node. `counts`: where all frames went, by cause."""

    clock: ClockWatch
    inputs: Inputs
    health: Health
    pipeline: Pipeline
    card: ModelCard
    switch: EngineSwitch
    registration: RegistrationSource
    host: HostMonitor
    counts: Callable[[], dict[str, int]]


class Report:
    """Judges the rooms; remembers counts, to know what happened since the report before."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._before: dict[str, float] = {}

    def parts(self, settings: Settings, now_s: float) -> list[Part]:
        """All parts, cameras first.

        Args:
            settings: of now.
            now_s: the node's clock.
        """
        clock = self._rooms.clock.trouble(settings.warn_after)
        silent = self._rooms.inputs.silent(settings.warn_after)
        if clock:
            silent = dict.fromkeys(CAMERAS, clock)
        return [
            *(self._camera(c, settings, now_s, silent.get(c)) for c in CAMERAS),
            self._pairing(settings, now_s, bool(silent)),
            self._registration(),
            self._fusion(settings, now_s, clock),
            self._engine(),
            self._host(),
        ]

    def _new(self, key: str, total: float) -> float:
        """How much a count has grown since the report before."""
        before, self._before[key] = self._before.get(key, total), total
        return total - before

    # -- parts ---------------------------------------------------------------------------------

    def _camera(self, camera: str, settings: Settings, now_s: float, silent: str | None) -> Part:
        inputs, part = self._rooms.inputs, Part(f"{camera} camera", good="frames arrive")
        rate, policy = inputs.rates[camera], inputs.incompatible(camera)
        expected_hz = getattr(settings, f"expected_rate__{camera}")
        gaps = stamp_gaps(rate.stamps_ns)
        lost = gaps.lost_share if gaps else 0.0
        part.values = {
            f"{camera}_topic": inputs.topic(camera),
            f"{camera}_rate_hz": rate.rate_hz(now_s),
            f"{camera}_stamped_rate_hz": 1 / gaps.period_s if gaps else "unknown",
            f"{camera}_expected_rate_hz": expected_hz or "any",
            f"{camera}_lost_percent": 100 * lost if gaps else "unknown",
            f"{camera}_age_ms": rate.age_s * 1e3 if rate.age_s is not None else "unknown",
            f"{camera}_incompatible_qos": policy or "none",
        }
        presence = inputs.synchronizer.presence
        if presence is not None:
            part.values |= {f"{camera}_{k}": v for k, v in vars(presence.cameras[camera]).items()}
        if camera == "thermal":
            pipeline = self._rooms.pipeline
            part.values |= {**pipeline.gain.describe(), **pipeline.cleaning.describe()}
        if silent:
            part.error(silent)
        else:
            _judge_rate(part, rate, expected_hz, lost, now_s)
            if presence is not None and (why := reason_of(camera, presence, settings)):
                part.follow(f"The {camera} camera {why}.")  # ~/status has logged it
        if policy is not None:
            part.warn(
                f"A publisher on {inputs.topic(camera)} cannot be heard: its QoS does not match in "
                f"{policy}; set qos_overrides.{inputs.topic(camera)}."
                "subscription.* of this node."
            )
        return part

    def _pairing(self, settings: Settings, now_s: float, silent: bool) -> Part:
        inputs, part = self._rooms.inputs, Part("pairing", good="frames find partners")
        counts = self._rooms.counts()
        part.values = {
            **{key: count for key, count in counts.items() if key not in FUSION_COUNTS},
            "pair_rate_hz": inputs.pairs.rate_hz(now_s),
        }
        rates = [rate.rate_hz(now_s) for rate in inputs.rates.values()]
        presence = inputs.synchronizer.presence
        alone = presence is not None and presence.mode != "both"
        few = inputs.pairs.rate_hz(now_s) < PAIRED_SHARE * min(rates)
        if silent or alone:
            part.follow("A camera or the clock is missing: see the lines of the cameras.")
        elif few and self._waited(settings):
            stamps = (inputs.rates[camera].stamps_ns for camera in CAMERAS)
            part.warn(few_pairs(settings, *stamps))
        if self._new("unstamped", counts["unstamped_visible"] + counts["unstamped_thermal"]):
            part.error("Frames without a stamp cannot be paired: have the driver set it.")
        return part

    def _waited(self, settings: Settings) -> bool:
        presence = self._rooms.inputs.synchronizer.presence
        return presence is not None and presence.watched_s > settings.warn_after

    def _fusion(self, settings: Settings, now_s: float, clock: str) -> Part:
        health, part = self._rooms.health, Part("fusion", good="fusing")
        values = health.values(now_s)
        counts = self._rooms.counts()
        part.values = {**{key: counts[key] for key in FUSION_COUNTS if key in counts}, **values}
        presence = self._rooms.inputs.synchronizer.presence
        if presence is not None:
            said = status_of(presence, settings, clock)  # as on ~/status, whose publisher logs it
            values_of_status = status_values(presence, settings)
            part.values |= {k: values_of_status[k] for k in ("mode", "sync_policy", "on_missing")}
            if said.level != OK:
                part.follow(said.message, said.level)
        fused, bad = self._new("fused", health.fused), self._new("bad", health.bad_frames)
        if bad and not fused:
            part.error(f"No frame could be fused, {bad:.0f} were bad: {health.last_error}")
        elif bad:
            part.warn(f"{bad:.0f} bad frames: {health.last_error}")
        elif not fused and not part.problems and self._waited(settings):
            part.follow("Nothing is being fused: see the lines of the cameras and of the pairing.")
        new_drops = self._new("dropped", counts["dropped_by_worker"])
        if fused and new_drops > DROPPED_SHARE * (fused + new_drops):
            smaller = "" if settings.model == "tiny" else "the model tiny, "
            part.warn(
                f"{new_drops:.0f} pairs came while a frame was being fused and were dropped: a "
                f"frame takes {values['engine_ms_p50']:.0f} ms in the engine. Use {smaller}"
                "more threads, a GPU, or a camera rate that this machine can follow."
            )
        return part

    def _registration(self) -> Part:
        source = self._rooms.registration
        part = Part("registration", {"registration": source.state}, good=source.state)
        if source.problem:
            part.warn(source.state)
        if source.useless:
            part.error(
                f"Nothing can be fused: {source.state}. Check directions, units and sizes of what "
                "registers the cameras (docs/registration.md)."
            )
        return part

    def _engine(self) -> Part:
        rooms = self._rooms
        described = rooms.pipeline.engine.describe()
        part = Part("engine", good=f"{described['engine']} {described['precision']}")
        part.values = {
            **described,
            "mask_mode": rooms.card.mode,
            "model_sha256": rooms.card.sha256[:12],
            "engine_choice": rooms.switch.why,
            "engine_upgrade": rooms.switch.state,
        }
        if described.get("engine_fallback"):
            part.warn(str(described["engine_fallback"]))
        if problem := rooms.switch.problem:
            part.warn(f"No TensorRT engine, {described['engine']} goes on: {problem}")
        return part

    def _host(self) -> Part:
        host, part = self._rooms.host, Part("host", values=dict(self._rooms.host.values))
        for problem in host.problems:
            part.warn(problem)
        return part


def _judge_rate(part: Part, rate: InputRate, expected_hz: float, lost: float, now_s: float) -> None:
    """Frames arrive: as many as they should, and stamped by this clock?"""
    if rate.received < FRAMES_NEEDED:
        part.good = "waiting for frames"
    elif rate.rate_hz(now_s) < RATE_SHARE * expected_hz:
        part.warn(f"{rate.rate_hz(now_s):.1f} of {expected_hz:.1f} Hz arrive: {TRANSPORT}.")
    elif lost > LOST_SHARE:
        part.warn(
            f"{100 * lost:.0f} % of the frames that the camera stamped never arrived: {TRANSPORT}."
        )
    if rate.age_s is not None and not -AHEAD_S < rate.age_s < AGE_S:
        way = "older than" if rate.age_s > 0 else "ahead of"
        part.warn(
            f"Stamps are {abs(rate.age_s):.1f} s {way} this node's clock: synchronise the clocks "
            "(chrony, PTP), or set use_sim_time for a bag or a simulator."
        )
