"""Thermal gain on frames small enough to work out by hand."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssvif_core.errors import SsvifError
from ssvif_core.imaging.temperature import TemperatureScale
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
    # (10 - 9.5) * 5 = 2.5 and (60 - 9.5) * 5 = 252.5, rounded to even.
    assert mapped[0, ::16].tolist() == [0, 2, 252, 255]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("low", [20.0, 20.1, 20.5, 20.9, 0.4, -0.6])
def test_what_lies_below_a_limit_between_two_counts_is_black(dtype, low):
    counts = np.arange(64, dtype=dtype).reshape(8, 8)
    levels = ThermalGain(mode="fixed", low=low, high=low + 10).apply(counts)
    wanted = np.clip((counts.astype(float) - low) * 25.5, 0, 255)
    assert (levels[counts <= low] == 0).all()
    assert np.abs(levels - wanted).max() <= 0.51


def test_fixed_in_celsius_takes_centikelvin():
    gain = ThermalGain(mode="fixed", unit="celsius", low=10.0, high=61.0)
    # 0.01 K a count: 10 C is count 28315, 61 C 33415; 51 K on 255 levels: 0.2 K a level.
    mapped = gain.apply(frame(28315, 28335, 29315, 33415, 40000))
    assert mapped[0, ::16].tolist() == [0, 1, 50, 255, 255]
    assert gain.limits == pytest.approx((28315, 33415))
    described = gain.describe()
    assert described["gain_low_celsius"] == pytest.approx(10.0)
    assert described["gain_high_celsius"] == pytest.approx(61.0)


@pytest.mark.parametrize(
    ("scale", "dtype", "counts"),
    [
        (TemperatureScale(0.1), np.uint16, (2882, 2932, 2982)),  # TLinear, low resolution
        (TemperatureScale(0.1, -100.0), np.uint16, (1150, 1200, 1250)),  # Optris
        (TemperatureScale(1.0), np.float32, (288.15, 293.15, 298.15)),  # Kelvin
        (TemperatureScale(1.0, 0.0), np.float32, (15, 20, 25)),  # Celsius
    ],
)
def test_fixed_in_celsius_takes_the_scales_of_other_cameras(scale, dtype, counts):
    gain = ThermalGain(mode="fixed", unit="celsius", low=15.0, high=25.0, scale=scale)
    mapped = gain.apply(frame(*counts, dtype=dtype))[0, ::16]
    assert mapped.tolist() == pytest.approx([0, 127, 255], abs=2)


def test_float_temperatures_are_mapped_and_what_is_no_number_does_no_harm():
    thermal = frame(-20, 0, 20, 30, dtype=np.float32)
    thermal[0, 0], thermal[5, 20], thermal[8, 63] = np.nan, np.inf, 1e30
    for mode in ("auto", "percentile", "plateau"):
        mapped = ThermalGain(mode=mode).apply(thermal, 0.0)
        assert mapped[12, ::16].tolist() == sorted(mapped[12, ::16].tolist())
        assert mapped[12, 0] < 20
        assert mapped[12, 63] > 235
    fixed = ThermalGain(mode="fixed", low=-20, high=31).apply(thermal)
    # 51 degrees on 255 levels: 5 levels a degree.
    assert fixed[12, ::16].tolist() == [0, 100, 200, 250]
    assert (fixed[0, 0], fixed[5, 20], fixed[8, 63]) == (0, 100, 250)


@pytest.mark.parametrize("sentinel", [np.finfo(np.float32).max, -1e17, 1e17, np.nan])
@pytest.mark.parametrize("mode", ["percentile", "plateau", "fixed"])
def test_what_a_driver_writes_for_no_value_is_refused_alone_and_filled_among_others(sentinel, mode):
    scene = np.random.default_rng(0).normal(300, 2, (60, 80)).astype(np.float32)
    gain = ThermalGain(mode=mode, low=290, high=310)
    before = gain.apply(scene, 0.0)
    with pytest.raises(SsvifError, match="look at its driver"):
        gain.apply(np.full_like(scene, sentinel), 0.1)
    rows = scene.copy()
    rows[::20] = sentinel  # 5 %
    after = gain.apply(rows, 0.2)
    assert np.abs(after.astype(int) - before)[1::20].mean() < 4
    assert before.min() < after[::20].min() and after[::20].max() < before.max()


def test_a_float_scene_without_contrast_stays_gray():
    rng = np.random.default_rng(0)
    flat = (20 + rng.normal(0, 0.05, (120, 160))).astype(np.float32)
    for mode in ("percentile", "plateau"):
        mapped = ThermalGain(mode=mode).apply(flat, 0.0)
        assert mapped.std() < 22
        assert abs(mapped.mean() - 127.5) < 4


def test_the_smallest_range_is_one_of_temperature_where_the_scale_is_known():
    coarse = ThermalGain(mode="percentile", unit="celsius", scale=TemperatureScale(0.1))
    coarse.apply(frame(2930, 2930), 0.0)
    low, high = coarse.limits
    assert high - low == pytest.approx(6.4)  # 0.64 K


def test_changes_from_another_thread_come_together_at_the_next_frame():
    gain = ThermalGain(mode="fixed", low=0, high=100)
    gain.configure(low=1000, high=1510)
    assert (gain.low, gain.high) == (0, 100)
    assert gain.apply(frame(1000, 1510))[0, ::16].tolist() == [0, 255]


def test_another_mode_or_depth_starts_afresh():
    gain = ThermalGain(mode="percentile", low_percentile=0, high_percentile=100)
    gain.apply(frame(6000, 6400), 10.0)
    gain.apply(frame(100, 200, dtype=np.uint8), 10.1)
    assert gain.limits == (100, 200)
    gain.mode = "fixed"
    gain.apply(frame(6000, 6400), 10.2)
    gain.mode = "percentile"
    gain.apply(frame(6000, 6400), 10.3)
    assert gain.limits == (6000, 6400)


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
    assert gain.limits is not None
    gain.apply(gray)  # nothing is mapped again, so there are no limits to show
    assert gain.limits is None
    assert "gain_low" not in gain.describe()


def test_grey_levels_follow_with_the_time_constant_whatever_the_frame_rate():
    cold, hot = frame(6000, 6400), frame(6000, 8400)
    reached = []
    for rate in (5, 50):
        gain = ThermalGain(mode="percentile", high_percentile=100, time_constant_s=2.0)
        gain.apply(cold, 0.0)
        for index in range(1, 2 * rate + 1):  # two seconds: one time constant
            gain.apply(hot, index / rate)
        low, high = gain.limits
        reached.append(255 * (6400 - low) / (high - low))
    # 6400 was 255 and is to be 400 / 2400 of it, 42.5: 42.5 + 212.5 / e = 120.67
    assert reached == pytest.approx([120.67, 120.67], abs=0.01)


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
        (ThermalGain(unit="fahrenheit"), frame(1, 2), "fahrenheit"),
        (ThermalGain(mode="fixed", low=5, high=5), frame(1, 2), "below"),
        (ThermalGain(), frame(1, 2, dtype=np.float64), "float64"),
        (ThermalGain(), np.zeros((0, 4), np.uint16), "not empty"),
        (ThermalGain(), np.zeros((4, 4, 3), np.uint16), r"is \(H, W\)"),
        (ThermalGain(high_percentile=200), frame(1, 2), "1 and 200"),
        (ThermalGain(low_percentile=float("nan")), frame(1, 2), "nan and 99.5"),
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
