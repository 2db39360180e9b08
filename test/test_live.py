"""Live parameters reach the rooms that use them, each its own place there."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (the extra `ros`)")

from rclpy.clock import Clock  # noqa: E402

from ssvif_core.imaging.temperature import TemperatureScale  # noqa: E402
from ssvif_core.imaging.thermal_gain import ThermalGain  # noqa: E402
from ssvif_core.inference.engine import EngineOptions, create_engine  # noqa: E402
from ssvif_core.inference.pipeline import Pipeline  # noqa: E402
from ssvif_core.models import open_model  # noqa: E402
from ssvif_core.pairing import NearestPairing  # noqa: E402
from ssvif_core.presence import Presence  # noqa: E402
from ssvif_ros.live import apply_to_pipeline, apply_to_synchronizer  # noqa: E402
from ssvif_ros.parameters import Settings  # noqa: E402
from ssvif_ros.synchronizer import LocalSimpleFilter, PairSynchronizer  # noqa: E402

#: No value is a default, and no two are alike: one that is forgotten or mistaken for another shows.
PAIRING = {
    "slop": 0.021, "max_wait": 0.22, "thermal_offset": -0.33, "max_thermal_age": 0.44,
    "on_missing": "stop", "missing_after": 0.65, "frozen_after": 1.6,
}  # fmt: skip
THERMAL = {
    "gain__mode": "plateau", "gain__low": 11.0, "gain__high": 222.0, "gain__unit": "celsius",
    "gain__kelvin_per_count": 0.04, "gain__celsius_at_zero": -100.0, "gain__low_percentile": 3.0,
    "gain__high_percentile": 88.0, "gain__plateau": 7.0, "gain__time_constant": 2.5,
    "thermal__bad_pixels": "none", "thermal__stripes": "both",
}  # fmt: skip


#: Live as well, and read where they are used: frames.py, outputs.py, report.py, fusion_node.py.
ELSEWHERE = {
    "engine", "precision", "output_encoding", "output_scale", "compressed__jpeg_quality",
    "registration__depth", "overlay_alpha", "warn_after", "expected_rate__visible",
    "expected_rate__thermal", "snapshot_folder",
}  # fmt: skip


def test_these_are_all_live_parameters_and_no_value_is_a_default():
    fields = {field.name: field for field in dataclasses.fields(Settings)}
    live = {name for name, field in fields.items() if field.metadata["live"]}
    assert live == {*PAIRING, *THERMAL, *ELSEWHERE}
    assert all(fields[name].default != v for name, v in {**PAIRING, **THERMAL}.items())


def test_thermal_parameters_reach_gain_and_cleaning_with_the_next_frame():
    engine, _ = create_engine(open_model("tiny"), "onnxruntime", EngineOptions(threads=1))
    pipeline = Pipeline(engine, ThermalGain())
    apply_to_pipeline(Settings(**THERMAL), pipeline)
    gain, cleaning = pipeline.gain, pipeline.cleaning
    gain.apply(np.arange(7000, 8024, dtype=np.uint16).reshape(32, 32))
    wanted = {
        "mode": "plateau", "low": 11.0, "high": 222.0, "unit": "celsius",
        "scale": TemperatureScale(kelvin_per_count=0.04, celsius_at_zero=-100.0),
        "low_percentile": 3.0, "high_percentile": 88.0, "plateau": 7.0, "time_constant_s": 2.5,
    }  # fmt: skip
    assert {f.name: getattr(gain, f.name) for f in dataclasses.fields(gain) if f.init} == wanted
    assert (cleaning.bad_pixels, cleaning.stripes) == ("none", "both")
    pipeline.close()


def test_parameters_of_the_pairing_reach_it_and_the_watch_on_the_cameras():
    pairing, presence = NearestPairing(), Presence()
    filters = [LocalSimpleFilter(), LocalSimpleFilter()]
    synchronizer = PairSynchronizer(filters, pairing, clock=Clock(), presence=presence)
    apply_to_synchronizer(Settings(**PAIRING), synchronizer)
    given = pairing.slop_s, pairing.max_wait_s, pairing.thermal_offset_s, pairing.max_thermal_age_s
    assert given == (0.021, 0.22, -0.33, 0.44)
    assert (presence.missing_after_s, presence.frozen_after_s) == (0.65, 1.6)
    assert pairing.singles is False
    apply_to_synchronizer(Settings(on_missing="passthrough"), synchronizer)
    assert pairing.singles is True
