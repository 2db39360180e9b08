"""Live parameters -> the rooms that use them. Each of those reads them once a frame."""

from __future__ import annotations

from ssvif_core.imaging.temperature import TemperatureScale
from ssvif_core.inference.pipeline import Pipeline
from ssvif_ros.parameters import Settings
from ssvif_ros.synchronizer import PairSynchronizer

__all__ = ["apply_to_pipeline", "apply_to_synchronizer"]


def apply_to_pipeline(settings: Settings, pipeline: Pipeline) -> None:
    """Thermal gain and cleaning."""
    scale = TemperatureScale(settings.gain__kelvin_per_count, settings.gain__celsius_at_zero)
    pipeline.gain.configure(
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
    pipeline.cleaning.bad_pixels = settings.thermal__bad_pixels
    pipeline.cleaning.stripes = settings.thermal__stripes


def apply_to_synchronizer(settings: Settings, synchronizer: PairSynchronizer) -> None:
    """Which frames belong together, and when a camera is missing."""
    synchronizer.configure(
        slop_s=settings.slop,
        max_wait_s=settings.max_wait,
        thermal_offset_s=settings.thermal_offset,
        max_thermal_age_s=settings.max_thermal_age,
    )
    synchronizer.configure_presence(
        missing_after_s=settings.missing_after,
        frozen_after_s=settings.frozen_after,
        singles=settings.on_missing != "stop",
    )
