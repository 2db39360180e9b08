"""Bad pixels are found and replaced; what a lens drew never is."""

from __future__ import annotations

import warnings

import cv2
import numpy as np
import pytest

from ssvif_core.errors import SsvifError
from ssvif_core.imaging.bad_pixels import BANDS, EVERY, LOOKS_NEEDED, BadPixels, fill_not_finite
from ssvif_core.imaging.thermal_cleaning import ThermalCleaning

#: Frames after which what was bad in all of them is known.
ENOUGH = EVERY * BANDS * (LOOKS_NEEDED + 2)
BAD = [(0, 0), (10, 20), (23, 31), (40, 0), (47, 63), (30, 50)]


def frames(dtype=np.uint16, seed=0, count=ENOUGH):
    """A gentle ramp with noise."""
    random = np.random.default_rng(seed)
    base = np.add.outer(np.arange(48), np.arange(64)).astype(np.float64)
    scale, offset = {np.uint16: (1, 7000), np.uint8: (0.5, 60), np.float32: (0.01, 20)}[dtype]
    for _ in range(count):
        noisy = offset + scale * (base + random.normal(0, 3, base.shape))
        yield noisy.astype(dtype) if dtype == np.float32 else np.rint(noisy).astype(dtype)


def spoil(frame, places, height):
    rows, columns = np.transpose(places)
    frame[rows, columns] += np.array(height, frame.dtype)
    return frame


@pytest.mark.parametrize(("dtype", "height"), [(np.uint16, 200), (np.uint8, 60), (np.float32, 2.0)])
def test_bad_pixels_are_found_and_get_the_values_of_their_neighbours(dtype, height):
    cleaner = BadPixels()
    for frame in frames(dtype):
        broken = spoil(frame.copy(), BAD, height)
        kept = broken.copy()
        cleaned = cleaner.apply(broken)
        assert np.array_equal(broken, kept)  # the driver's message is not written to
    assert sorted(map(tuple, cleaner.positions.tolist())) == sorted(BAD)
    assert cleaner.count == len(BAD)
    others = np.ones(frame.shape, bool)
    others[tuple(np.transpose(BAD))] = False
    assert np.array_equal(cleaned[others], broken[others])
    rows, columns = np.transpose(BAD)
    assert np.abs(cleaned[rows, columns].astype(float) - frame[rows, columns]).max() < height / 5


def test_looking_when_there_is_time_finds_the_same_as_looking_at_the_next_frame():
    early, late = BadPixels(), BadPixels()
    for frame in frames():
        spoil(frame, BAD, 200)
        assert np.array_equal(early.apply(frame), late.apply(frame))
        early.look()
        early.look()  # once is enough
    late.look()
    assert early.count == len(BAD)
    assert np.array_equal(early.positions, late.positions)


def test_the_median_is_that_of_the_good_neighbours():
    cleaner, frame = BadPixels(), np.full((16, 16), 1000, np.uint16)
    frame[::2] = 1002
    frame[8, 8] = 0
    for _ in range(ENOUGH):
        cleaned = cleaner.apply(frame)
    # Two neighbours of 1002 in its own row, six of 1000 above and below.
    assert cleaned[8, 8] == 1000


def test_a_frame_without_bad_pixels_is_passed_on_as_it_is():
    cleaner = BadPixels()
    for frame in frames():
        assert cleaner.apply(frame) is frame


def test_a_small_hot_thing_that_moves_stays():
    cleaner = BadPixels()
    for index, frame in enumerate(frames(count=3 * ENOUGH)):
        spoil(frame, [(10 + index % 30, 5 + index // 4 % 50)], 400)
        assert cleaner.apply(frame) is frame


@pytest.mark.parametrize("height", [60, 100, 200, 900])
def test_a_far_lamp_that_a_lens_drew_stays_even_if_nothing_moves(height):
    lamp = np.zeros((48, 64), np.float32)
    # A spot of 0.4 pixels, averaged over each pixel: an eighth of its height beside the middle.
    lamp[19:22, 29:32] = height * np.outer((0.13, 1, 0.13), (0.13, 1, 0.13))
    cleaner = BadPixels()
    for frame in frames():
        lit = (frame + lamp).astype(np.uint16)
        assert cleaner.apply(lit) is lit


def test_two_pixels_side_by_side_are_a_thing_and_stay():
    cleaner = BadPixels()
    for frame in frames():
        spoil(frame, [(20, 30), (20, 31)], [400, 100])
        assert cleaner.apply(frame) is frame


def test_more_dots_than_a_sensor_has_defects_are_the_scenes_and_stay():
    cleaner = BadPixels()
    for frame in frames():
        frame[2::5, 2::5] += 200
        assert cleaner.apply(frame) is frame


def test_wires_and_edges_stay():
    cleaner = BadPixels()
    for frame in frames():
        frame[:, 40] += 300  # a wire, one pixel wide
        frame[25:, :20] += 500
        assert cleaner.apply(frame) is frame


def test_a_pixel_that_recovers_is_left_alone_again_but_not_at_once():
    cleaner = BadPixels()
    for frame in frames():
        cleaner.apply(spoil(frame, BAD, 200))
    assert cleaner.count == len(BAD)
    for frame in frames(seed=2, count=4 * EVERY * BANDS):  # four looks of ten
        cleaner.apply(frame)
    assert cleaner.count == len(BAD)
    for frame in frames(seed=1, count=3 * ENOUGH):
        cleaner.apply(frame)
    assert cleaner.count == 0


def test_another_size_starts_afresh():
    cleaner = BadPixels()
    for frame in frames():
        cleaner.apply(spoil(frame, BAD, 200))
    small = np.full((3, 3), 7, np.uint16)
    assert cleaner.apply(small) is small
    assert cleaner.count == 0


def test_nothing_is_replaced_where_all_is_noise():
    cleaner, random = BadPixels(), np.random.default_rng(0)
    frame = random.integers(0, 65536, (48, 64)).astype(np.uint16)
    for _ in range(ENOUGH):
        assert cleaner.apply(frame) is frame


def test_nan_and_infinity_are_filled_from_around_without_a_warning():
    frame = np.full((8, 12), 20, np.float32)
    frame[:, 6:] = 30
    frame[2, 2], frame[5, 9], frame[0, 0] = np.nan, np.inf, -np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        filled = fill_not_finite(frame)
        large = frame.copy()
        large[:5] = np.nan
        filled_large = fill_not_finite(large)
    assert (filled[2, 2], filled[5, 9], filled[0, 0]) == (20, 30, 20)
    assert np.isfinite(filled_large).all()
    assert np.isnan(frame[2, 2])
    good = np.ones((4, 4), np.float32)
    assert fill_not_finite(good) is good
    with pytest.raises(SsvifError, match="finite"):
        fill_not_finite(np.full((4, 4), np.nan, np.float32))


def test_holes_side_by_side_are_filled_from_what_is_good_around_them():
    frame = np.full((12, 20), 20, np.float32)  # the median of the frame is 20
    frame[:, 14:] = 30
    frame[5:7, 16:19] = np.nan  # the middle ones have three good neighbours of eight
    assert (fill_not_finite(frame)[:, 14:] == 30).all()


def test_cleaning_says_what_it_found_and_can_be_switched_while_it_runs():
    cleaning = ThermalCleaning()
    for frame in frames():
        cleaning.apply(spoil(frame, BAD, 200))
    assert cleaning.describe() == {"bad_pixels": len(BAD), "stripes": "none"}
    cleaning.bad_pixels = "none"
    frame = spoil(next(frames()), BAD, 200)
    assert cleaning.apply(frame) is frame
    assert cleaning.describe()["bad_pixels"] == 0


@pytest.mark.parametrize("values", [{"bad_pixels": "off"}, {"stripes": "diagonal"}])
def test_an_unknown_mode_says_which_there_are(values):
    with pytest.raises(SsvifError, match="one of"):
        ThermalCleaning(**values).apply(np.zeros((8, 8), np.uint16))


def test_nothing_in_real_clips_and_a_real_radiometric_frame_is_taken_for_a_defect(shared_data):
    cleaner = BadPixels()
    # One frame again and again is the hardest case: its noise stays in place as a defect would.
    path = shared_data / "radiometric" / "example_radiometric.tiff"
    thermal = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    for _ in range(ENOUGH):
        cleaned = cleaner.apply(thermal)
    assert cleaner.count < thermal.size / 10_000
    assert cv2.absdiff(cleaned, thermal).max() < 30
    clips = (shared_data / "clips" / "thermal").glob("*.mp4")
    clip = max(clips, key=lambda path: path.stat().st_size)
    video = cv2.VideoCapture(str(clip))
    seen = 0
    while seen < ENOUGH and video.grab():
        frame = cv2.cvtColor(video.retrieve()[1], cv2.COLOR_BGR2GRAY)
        assert cleaner.apply(frame) is frame
        seen += 1
    assert seen > EVERY * BANDS * LOOKS_NEEDED
