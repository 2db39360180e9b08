"""Plateau equalisation on histograms small enough to work out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssvif_core.errors import SsvifError
from ssvif_core.imaging.plateau import LINEAR_PART, PlateauCurve, equalised
from ssvif_core.imaging.thermal_gain import ThermalGain

NO_LIMIT = 1e9


def test_without_a_plateau_the_curve_is_linear():
    assert equalised(np.array([7, 0, 1, 0]), 0.0, NO_LIMIT) == pytest.approx(
        [0, 63.75, 127.5, 191.25, 255]
    )


def test_no_bin_counts_for_more_than_the_plateau():
    # Mean bin 25; plateau 1 clips 80 to 25: 25, 10, 10, 0 of 45. A part of the levels is linear.
    rest = 1 - LINEAR_PART
    shares = LINEAR_PART / 4 + rest * np.array([25, 10, 10, 0]) / 45
    found = equalised(np.array([80, 10, 10, 0]), 1.0, NO_LIMIT)
    assert np.diff(found) == pytest.approx(255 * shares)
    assert found[-1] == pytest.approx(255)


def test_a_slope_limit_leaves_a_scene_without_contrast_in_the_middle():
    # 4 bins of at most 10 levels: 40 levels around 127.5.
    found = equalised(np.array([5, 5, 5, 5]), 1.0, 10.0)
    assert found == pytest.approx([107.5, 117.5, 127.5, 137.5, 147.5])


def test_an_empty_histogram_is_linear():
    assert equalised(np.zeros(3), 1.0, NO_LIMIT) == pytest.approx([0, 85, 170, 255])


@given(
    st.lists(st.integers(0, 65535), min_size=16, max_size=200),
    st.floats(0, 20),
    st.sampled_from(["uint16", "uint8", "float32"]),
)
def test_hotter_never_becomes_darker(counts, plateau, dtype):
    ordered = np.sort(np.array(counts) >> (8 if dtype == "uint8" else 0)).astype(dtype)
    if dtype == "float32":
        ordered = ordered * np.float32(0.01) - np.float32(273.15)
    frame = np.repeat(ordered[None], 8, 0).repeat(4, 1)
    mapped = ThermalGain(mode="plateau", plateau=plateau).apply(frame, 0.0)
    assert mapped.dtype == np.uint8
    assert mapped.shape == frame.shape
    assert (np.diff(mapped[0].astype(int)) >= 0).all()


def test_a_street_keeps_its_contrast_beside_a_flame():
    street = np.tile(np.arange(7000, 7320, dtype=np.uint16), (64, 1))
    flame = street.copy()
    flame[:, :20] = 12000
    plateau, percentile = (
        ThermalGain(mode=mode).apply(flame, 0.0)[0, 20:] for mode in ("plateau", "percentile")
    )
    assert np.ptp(plateau) > 4 * np.ptp(percentile)
    assert ThermalGain(mode="plateau").apply(flame, 0.0)[0, 0] == 255


def test_the_plateau_of_the_gain_goes_from_linear_to_equalised():
    # Nine tenths of the pixels have the lowest tenth of the counts.
    counts = np.concatenate([np.linspace(7000, 7100, 900), np.linspace(7100, 8000, 100)])
    frame = np.tile(counts.astype(np.uint16), (16, 1))
    linear = ThermalGain(mode="percentile").apply(frame, 0.0).astype(int)
    reached = []
    for plateau in (0.0, 1.0, 100.0):
        mapped = ThermalGain(mode="plateau", plateau=plateau).apply(frame, 0.0).astype(int)
        reached.append(np.ptp(mapped[0, :900]))
        if plateau == 0:
            assert np.abs(mapped - linear).max() <= 2
    assert reached[0] + 20 < reached[1] < reached[2] - 20


def test_noise_of_a_flat_scene_is_not_stretched():
    random = np.random.default_rng(0)
    flat = (7000 + random.normal(0, 4, (240, 320))).astype(np.uint16)
    mapped = ThermalGain(mode="plateau").apply(flat, 0.0)
    assert mapped.std() < 10
    assert abs(mapped.mean() - 127.5) < 3


def test_the_curve_moves_with_all_counts():
    curve, ramp = PlateauCurve(65536), np.arange(7000, 7400, dtype=np.uint16)
    curve.follow(ramp, 1.0, 0.0)
    before = curve.table(7000, 7400, 1.0, 2.0)
    curve.follow(ramp + np.uint16(40), 0.01, 40.0)
    after = curve.table(7040, 7440, 1.0, 2.0)
    assert np.abs(after[7040:7440].astype(int) - before[7000:7400]).max() <= 1


def test_the_histogram_follows_with_the_time_constant():
    curve = PlateauCurve(256)
    curve.follow(np.full(100, 10, np.uint8), 1.0, 0.0)
    for _ in range(2):
        curve.follow(np.full(100, 20, np.uint8), 0.5, 0.0)
    # A quarter of the pixels still counts for 10, three quarters for 20.
    slopes = np.diff(curve.table(0, 32, 100.0, 1000.0)[:33].astype(int))
    linear = 255 * LINEAR_PART / 32
    rest = 255 * (1 - LINEAR_PART)
    assert slopes[10] == pytest.approx(linear + rest / 4, abs=1.5)
    assert slopes[20] == pytest.approx(linear + rest * 3 / 4, abs=1.5)


def test_float_counts_that_are_no_temperatures_are_refused_with_what_to_do():
    counts = np.random.default_rng(0).integers(29200, 29800, (64, 80)).astype(np.float32)
    with pytest.raises(SsvifError, match="temperatures from -300 to 1010.*percentile"):
        ThermalGain(mode="plateau").apply(counts, 0.0)
    assert ThermalGain(mode="percentile").apply(counts, 0.0).std() > 50
