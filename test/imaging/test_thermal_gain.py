"""Thermal gain on frames small enough to work out by hand."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssvif_core.errors import SsvifError
from ssvif_core.imaging.thermal_gain import ThermalGain


def frame(*values, dtype=np.uint16):
    """Columns of equal width, 16 rows: sampling every 4th pixel sees each alike."""
    return np.repeat(np.array(values, dtype), 16)[None].repeat(16, 0)


def test_fixed_maps_low_to_0_high_to_255_and_saturates():
    gain = ThermalGain(mode="fixed", low=1000, high=1510)
    # (1000..1510) is 510 counts on 255 levels: 2 counts a level. 1255 -> 127.5, rounded to even.
    mapped = gain.apply(frame(0, 1000, 1100, 1255, 1510, 65535))
    assert mapped[0, ::16].tolist() == [0, 0, 50, 128, 255, 255]
    assert gain.limits == (1000, 1510)


def test_fixed_works_on_8_bit_frames_with_a_fractional_lower_limit():
    gain = ThermalGain(mode="fixed", low=9.5, high=60.5)  # 51 counts: 5 levels a count
    mapped = gain.apply(frame(0, 10, 60, 255, dtype=np.uint8))
    # (10 - 9.5) * 5 = 2.5 and (60 - 9.5) * 5 = 252.5, rounded to even; what lies below the limit
    # gets the level of the first whole count above it.
    assert mapped[0, ::16].tolist() == [2, 2, 252, 255]


def test_percentiles_leave_dead_pixels_out():
    thermal = np.random.default_rng(0).integers(6743, 7078, (480, 640), dtype=np.uint16)
    thermal[0, 0], thermal[4, 4] = 0, 65535
    mapped = ThermalGain(mode="percentile").apply(thermal)
    assert np.percentile(mapped, 2) < 10
    assert np.percentile(mapped, 99) > 245


def test_auto_passes_8_bit_frames_through_and_stretches_16_bit_ones():
    gain = ThermalGain()
    gray = frame(3, 7, dtype=np.uint8)
    assert gain.apply(gray) is gray
    assert gain.limits is None
    assert gain.apply(frame(7000, 7200), 0.0)[0, ::16].tolist() == [0, 255]


def test_the_limits_follow_with_the_time_constant_whatever_the_frame_rate():
    cold, hot = frame(6000, 6400), frame(6000, 8400)
    reached = []
    for rate in (5, 50):
        gain = ThermalGain(mode="percentile", high_percentile=100, time_constant_s=2.0)
        gain.apply(cold, 0.0)
        for index in range(1, 2 * rate + 1):  # two seconds: one time constant
            gain.apply(hot, index / rate)
        reached.append(gain.limits[1])
    # 6400 + (1 - 1/e) * 2000 = 7664.2
    assert reached == pytest.approx([7664.2, 7664.2], abs=0.1)


def test_a_hot_object_that_enters_does_not_make_the_rest_jump():
    quiet, crossing = frame(*range(6000, 6400, 20)), frame(*range(6000, 6380, 20), 9000)
    smooth, abrupt = ThermalGain(mode="percentile"), ThermalGain(mode="percentile")
    abrupt.time_constant_s = 0.0
    jumps = []
    for gain in (smooth, abrupt):
        before = gain.apply(quiet, 10.0).astype(int)
        after = gain.apply(crossing, 10.0 + 1 / 30).astype(int)
        jumps.append(np.abs(after - before)[:, :160].mean())
    assert jumps[0] < jumps[1] / 4


def test_stamps_that_jump_back_or_pause_start_afresh():
    for stamp in (4.0, 100.0, None):
        gain = ThermalGain(mode="percentile", low_percentile=0, high_percentile=100)
        gain.apply(frame(6000, 6400), 10.0)
        gain.apply(frame(7000, 7400), stamp)
        assert gain.limits == (7000, 7400)


@pytest.mark.parametrize("value", [0, 7000, 65535])
def test_a_frame_without_contrast_is_mid_gray(value):
    mapped = ThermalGain(mode="percentile").apply(frame(value, value), 0.0)
    assert set(mapped.ravel().tolist()) <= {127, 128}


def test_noise_of_a_flat_scene_is_not_stretched():
    rng = np.random.default_rng(0)
    flat = (7000 + rng.normal(0, 4, (240, 320))).astype(np.uint16)  # 50 mK of an uncooled core
    assert ThermalGain(mode="percentile").apply(flat, 0.0).std() < 20


@given(st.integers(0, 65535), st.integers(0, 65535), st.integers(0, 65535))
def test_hotter_never_becomes_darker(a, b, c):
    low, middle, high = sorted((a, b, c))
    mapped = ThermalGain(mode="percentile").apply(frame(low, middle, high), 0.0)
    assert mapped[0, 0] <= mapped[0, 16] <= mapped[0, 32]


@pytest.mark.parametrize(
    ("gain", "thermal", "reason"),
    [
        (ThermalGain(mode="none"), frame(1, 2), "8-bit"),
        (ThermalGain(mode="magic"), frame(1, 2), "magic"),
        (ThermalGain(mode="fixed", low=5, high=5), frame(1, 2), "below"),
        (ThermalGain(), frame(1, 2, dtype=np.float64), "float64"),
    ],
)
def test_what_cannot_be_mapped_says_why(gain, thermal, reason):
    with pytest.raises(SsvifError, match=reason):
        gain.apply(thermal)


def test_a_real_radiometric_frame_fills_the_range(shared_data):
    path = shared_data / "radiometric" / "example_radiometric.tiff"
    thermal = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert (thermal.dtype, thermal.shape) == (np.uint16, (512, 640))
    mapped = ThermalGain().apply(thermal, 0.0)
    assert mapped.min() == 0
    assert mapped.max() == 255
    assert mapped.std() > 30
