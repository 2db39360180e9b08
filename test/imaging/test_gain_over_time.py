"""The gain while time passes: flicker, shutter steps, noise, on a drawn scene that stands still."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ssvif_core.imaging.scene_limits import SceneLimits, quantiles
from ssvif_core.imaging.thermal_gain import ThermalGain
from ssvif_core.simulation.scenes import Scene

RATE_HZ = 30.0
ENTERS = 15


def min_max(frame, stamp_s):
    low, high = float(frame.min()), float(frame.max())
    return np.rint((frame - low) * (255.0 / (high - low)))


@pytest.fixture(scope="module")
def street():
    """(H, W) uint16 counts."""
    return Scene("day", 160, 120, seed=1).render(2.0, visible=False, labels=False).thermal


def flame_comes_in(street):
    """Frames while a disc of about 60 C, its heat varying by a tenth, comes in from the left."""
    random = np.random.default_rng(0)
    for index in range(120):
        frame = street.copy()
        if index >= ENTERS:
            heat = street.mean() + 4000 * (1 + 0.1 * random.standard_normal())
            cv2.circle(frame, (min(2 * (index - ENTERS), 80), 60), 15, float(heat), -1)
        yield frame, index / RATE_HZ


def flicker(gain, street):
    """Mean change, in grey levels, of rows that the flame does not touch, from frame to frame."""
    still = np.r_[0:44, 76:120]
    levels = [gain(f, s)[still].astype(float) for f, s in flame_comes_in(street)]
    return np.array([np.abs(b - a).mean() for a, b in zip(levels, levels[1:], strict=False)])


@pytest.mark.parametrize(("mode", "times"), [("percentile", 4), ("plateau", 6)])
def test_a_flame_that_comes_in_flickers_many_times_less_than_with_minimum_and_maximum(
    street, mode, times
):
    naive = flicker(min_max, street)
    ours = flicker(ThermalGain(mode=mode).apply, street)
    assert naive.max() > 10  # the jump that the baseline is known for
    assert ours.max() < naive.max() / times
    assert ours.mean() < naive.mean() / times


@pytest.mark.parametrize("mode", ["percentile", "plateau", "fixed"])
def test_a_static_scene_gives_the_same_picture_in_every_frame(street, mode):
    gain = ThermalGain(mode=mode, low=4000, high=6000)
    first = gain.apply(street, 0.0).copy()
    for index in range(1, 20):
        assert np.array_equal(gain.apply(street, index / RATE_HZ), first)


@pytest.mark.parametrize("mode", ["percentile", "plateau"])
def test_noise_does_not_move_the_picture_as_a_whole(street, mode):
    gain, random, means = ThermalGain(mode=mode), np.random.default_rng(0), []
    for index in range(60):
        noise = np.rint(random.normal(64, 4, street.shape)).astype(np.uint16)
        means.append(gain.apply(street + noise, index / RATE_HZ).mean())
    assert np.std(means[10:]) < 0.5


@pytest.mark.parametrize("mode", ["percentile", "plateau"])
@pytest.mark.parametrize("step", [60, -45])
def test_the_step_after_a_shutter_closed_is_followed_at_once(street, mode, step):
    gain, random, means = ThermalGain(mode=mode), np.random.default_rng(0), []
    slow = (np.arange(160) / 160 * step / 10).astype(np.int64)  # never quite even
    for index in range(30):
        noise = np.rint(random.normal(0, 4, street.shape)).astype(np.int64)
        shifted = street + noise + (step + slow if index >= 15 else 0)
        means.append(gain.apply(shifted.astype(np.uint16), index / RATE_HZ).mean())
    assert abs(means[15] - means[14]) < 2
    assert np.ptp(means[10:]) < 3
    assert gain.describe()["gain_offset_steps"] == 1


def test_a_shutter_step_is_followed_after_the_frozen_frames_of_the_shutter_too(street):
    gain = ThermalGain(mode="percentile")
    before = gain.apply(street, 0.0).astype(int)
    for index in range(1, 10):
        gain.apply(street, index / RATE_HZ)
    after = gain.apply(street + np.uint16(80), 0.8).astype(int)
    assert np.abs(after - before).max() <= 2


def test_neither_a_hot_thing_nor_a_turning_camera_is_taken_for_a_shutter_step(street):
    gain = ThermalGain(mode="percentile")
    for frame, stamp in flame_comes_in(street):
        gain.apply(frame, stamp)
    for index in range(60):
        gain.apply(np.roll(street, 4 * index, axis=1)[:, :80], 4.0 + index / RATE_HZ)
    assert gain.describe()["gain_offset_steps"] == 0


def test_a_shutter_step_is_followed_in_frames_that_share_one_buffer(street):
    gain, buffer = ThermalGain(mode="percentile"), street.copy()
    gain.apply(buffer, 0.0)
    buffer += 80
    gain.apply(buffer, 1 / RATE_HZ)
    assert gain.describe()["gain_offset_steps"] == 1


def test_quantiles_that_move_alike_are_no_step_where_the_pixels_do_not():
    limits = SceneLimits()
    scene = np.arange(1000, 2000)
    limits.follow(scene, (0, 100), 64, 1.0)
    # All counts are 100 higher, and 300 pixels further: most pixels see one that is 200 lower.
    assert limits.follow(np.roll(scene, 300) + 100, (0, 100), 64, 0.0) == 0
    assert limits.follow(np.repeat(scene, 2) + 200, (0, 100), 64, 0.0) == 0  # another size
    assert limits.ends == pytest.approx((1000, 1999))
    assert limits.steps == 0


def test_quantiles_are_those_of_numpy():
    values = np.sort(np.random.default_rng(0).integers(0, 65536, 1001).astype(np.uint16))
    percents = (0.0, 1.0, 33.3, 50.0, 99.5, 100.0)
    assert quantiles(values, percents) == pytest.approx(np.percentile(values, percents))


def test_limits_are_moved_by_a_common_step_and_then_go_on():
    limits = SceneLimits()
    scene = np.arange(1000, 2001)
    assert limits.follow(scene, (0, 100), 64, 1.0) == 0
    assert limits.follow(scene + 100, (0, 100), 64, 0.0) == 100
    assert limits.ends == pytest.approx((1100, 2100))
    limits.follow(np.arange(1100, 3101), (0, 100), 64, 0.5)  # wider, not moved
    # 2100 was 1 and is to be 1/2: half way it is 3/4, and 1 is at 1100 + 1000 / (3/4).
    assert limits.ends == pytest.approx((1100, 2433.33), abs=0.01)
    assert limits.steps == 1
