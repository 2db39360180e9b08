"""Clocks that differ by a known time, from the motion that both cameras see."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ssvif_core.calibration.frames import Source
from ssvif_core.calibration.motion import MotionMeter, read_motion
from ssvif_core.calibration.time_offset import check_offset, estimate_offset
from ssvif_core.errors import SsvifError

SIZE = (96, 72)


def world(seed):
    random = np.random.default_rng(seed)
    blurred = cv2.GaussianBlur(random.normal(0, 1, (120, 400)).astype(np.float32), (0, 0), 2.5)
    return cv2.normalize(blurred, None, 20, 230, cv2.NORM_MINMAX)


def turn_px(time_s, seed):
    """An irregular turning to and fro; the same for whoever asks."""
    random = np.random.default_rng([seed, 1])
    frequencies, phases = random.uniform(0.2, 1.1, 6), random.uniform(0, 6.3, 6)
    return 150 + 8 * np.sin(2 * np.pi * frequencies * time_s + phases).sum()


def view(plane, time_s, seed, random):
    shift = np.float64([[1, 0, -turn_px(time_s, seed)], [0, 1, -20]])
    image = cv2.warpAffine(plane, shift, SIZE) + random.normal(0, 2, SIZE[::-1])
    return image.clip(0, 255).astype(np.uint8)


def motion(rate_hz, seed, *, thermal, clock_s=0.0, seconds=10, jitter_s=0.0):
    random = np.random.default_rng([seed, thermal])
    plane = 250 - 0.5 * world(seed) if thermal else world(seed)
    meter = MotionMeter()
    for index in range(int(seconds * rate_hz)):
        time_s = (index + 0.3 * thermal) / rate_hz
        stamp_s = time_s + clock_s + random.normal(0, jitter_s)
        meter.add(stamp_s, view(plane, time_s, seed, random))
    return meter.motion()


@pytest.mark.parametrize(
    ("thermal_hz", "offset_s", "jitter_s", "tolerance_s"),
    [(30, 0.085, 0.0, 0.01), (9, -0.21, 0.002, 0.02)],
)
def test_the_offset_is_found_with_the_sign_of_the_parameter(
    thermal_hz, offset_s, jitter_s, tolerance_s
):
    visible = motion(30, 1, thermal=False, jitter_s=jitter_s)
    # Thermal stamps are this much too small, so it must be added to them.
    thermal = motion(thermal_hz, 1, thermal=True, clock_s=-offset_s, jitter_s=jitter_s)
    found = estimate_offset(visible, thermal)
    check_offset(found)
    assert found.offset_s == pytest.approx(offset_s, abs=tolerance_s)


def test_pixels_that_a_driver_knows_to_be_bad_do_not_hide_the_motion():
    clean, marked = MotionMeter(), MotionMeter()
    random = np.random.default_rng(3)
    for index in range(60):
        frame = 20 + 0.1 * view(world(1), index / 9, 1, random).astype(np.float32)
        clean.add(index / 9, frame)
        frame = frame.copy()
        frame[30, 40] = np.nan
        marked.add(index / 9, np.full_like(frame, np.nan) if index == 20 else frame)
    assert len(marked) == len(clean) - 1
    energy = marked.motion().energy
    assert np.isfinite(energy).all()
    assert np.corrcoef(energy[:18], clean.motion().energy[:18])[0, 1] > 0.99


def test_motion_that_the_cameras_do_not_share_is_refused():
    found = estimate_offset(motion(30, 1, thermal=False), motion(30, 2, thermal=True))
    with pytest.raises(SsvifError, match="turn"):
        check_offset(found)


def test_cameras_that_see_nothing_move_are_refused():
    meters = []
    for seed in (1, 2):
        random = np.random.default_rng(seed)
        meter = MotionMeter()
        for index in range(250):
            still = world(3)[:72, :96] + random.normal(0, 2, (72, 96))
            meter.add(index / 30, still.clip(0, 255).astype(np.uint8))
        meters.append(meter.motion())
    with pytest.raises(SsvifError, match="No distinct"):
        check_offset(estimate_offset(*meters))


def test_a_recording_that_is_too_short_is_told_the_length_that_is_advised():
    with pytest.raises(SsvifError, match=r"overlap for 4\.9 s.* record 20 s or more"):
        estimate_offset(motion(30, 1, thermal=False, seconds=5.0), motion(30, 2, thermal=True))


def test_clocks_that_are_far_apart_say_what_to_give():
    with pytest.raises(SsvifError, match=r"clocks differ: add \-700\.\d to --offset"):
        estimate_offset(motion(15, 1, thermal=False), motion(9, 1, thermal=True, clock_s=700.0))


def test_frames_without_stamps_are_not_called_too_few():
    meter = MotionMeter("thermal")
    for index in range(40):
        meter.add(0.0, np.full((48, 64), index, np.uint8))
    with pytest.raises(SsvifError, match=r"39 of 40 frames of the thermal camera .*header\.stamp"):
        meter.motion()


def test_a_recording_is_read_and_a_folder_has_no_times(recording, paired_folder):
    with pytest.raises(SsvifError, match="too few"):
        read_motion(Source(recording))
    with pytest.raises(SsvifError, match="no times"):
        read_motion(Source(paired_folder / "frames"))


def test_a_clock_that_was_set_within_the_recording_is_named():
    seen, felt = motion(15, 3, thermal=False), motion(9, 3, thermal=True)
    for one in (seen, felt):
        one.times_s[20:] += 63_000_000.0
    with pytest.raises(SsvifError, match="visible camera jump by 63000000 s after 1 s"):
        estimate_offset(seen, felt)
