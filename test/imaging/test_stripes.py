"""Stripes of known size are taken off; what stands in the scene stays."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ssvif_core.imaging.stripes import LOOK_EVERY, Stripes
from ssvif_core.imaging.thermal_cleaning import ThermalCleaning
from ssvif_core.simulation.scenes import Scene

SHAPE = (120, 160)
#: Looks whose average is tested.
LOOKS = 40


def noisy(base, random, noise=4.0):
    values = base + random.normal(0, noise, base.shape)
    if base.dtype == np.float32:
        return values.astype(np.float32)
    return np.clip(np.rint(values), 0, np.iinfo(base.dtype).max).astype(base.dtype)


def striped(base, offsets, axis):
    plane = base + (offsets if axis == 1 else offsets[:, None])
    return (
        plane.astype(base.dtype) if base.dtype == np.float32 else np.rint(plane).astype(base.dtype)
    )


def neighbour_steps(image, base, axis):
    """Deviation of what neighbouring columns (rows) differ by and should not: what stripes are."""
    apart = (image.astype(float) - base).mean(axis=1 - axis)
    return np.diff(apart).std()


@pytest.mark.parametrize("axis", [0, 1], ids=["rows", "columns"])
@pytest.mark.parametrize(
    ("dtype", "level", "size", "noise"),
    [(np.uint16, 7000, 8, 4.0), (np.uint8, 120, 4, 1.5), (np.float32, 20, 0.1, 0.05)],
    ids=["uint16", "uint8", "float32"],
)
def test_stripes_on_an_even_scene_are_reduced_five_times(axis, dtype, level, size, noise):
    random = np.random.default_rng(0)
    base = np.full(SHAPE, level, dtype)
    dirty = striped(base, random.normal(0, size, SHAPE[axis]), axis)
    cleaner = Stripes("columns" if axis else "rows")
    for _ in range(3):
        cleaned = cleaner.apply(noisy(dirty, random, noise))
    before, after = (neighbour_steps(x, base, axis) for x in (dirty, cleaned))
    assert after < before / 5
    assert cleaned.dtype == dtype


def views(count):
    """A drawn street that the camera drives past: three pixels in each frame."""
    scene = Scene("day", SHAPE[1], SHAPE[0], seed=1).render(2.0, visible=False, labels=False)
    for index in range(count):
        yield np.roll(scene.thermal, -3 * index, axis=1)


def test_stripes_on_a_street_that_passes_by_are_reduced_five_times():
    random = np.random.default_rng(0)
    stripes, cleaner = random.normal(0, 8, SHAPE[1]), Stripes("columns")
    for view in views(LOOKS * LOOK_EVERY):
        dirty = striped(view, stripes, 1)
        cleaned = cleaner.apply(dirty)
    assert neighbour_steps(cleaned, view, 1) < neighbour_steps(dirty, view, 1) / 5


def test_a_scene_that_stands_still_teaches_nothing_more():
    cleaner = Stripes("columns")
    for view in views(LOOKS * LOOK_EVERY):
        cleaner.apply(view)
    for _ in range(LOOK_EVERY):  # the last view is one that was not seen before
        cleaner.apply(view)
    before = cleaner.offsets(1)
    for _ in range(10 * LOOK_EVERY):
        cleaner.apply(view)
    assert np.array_equal(cleaner.offsets(1), before)


@pytest.mark.parametrize("height", [120, 75, 40])
def test_a_pole_keeps_its_contrast(height):
    random = np.random.default_rng(0)
    scene = np.full(SHAPE, 7000, np.uint16)
    scene[SHAPE[0] - height :, 100:106] += 200  # 2.4 K, from a part to all of the picture's height
    scene = cv2.GaussianBlur(scene, (0, 0), 0.7)
    dirty = striped(scene, random.normal(0, 6, SHAPE[1]), 1)
    cleaner = Stripes("columns")
    for _ in range(3):
        cleaned = cleaner.apply(noisy(dirty, random))
    pole = np.s_[SHAPE[0] - height + 2 :]

    def contrast(image):
        return image[pole, 102:104].mean() - image[pole, 80:95].mean()

    assert contrast(cleaned.astype(float)) > 0.93 * contrast(dirty.astype(float))
    assert neighbour_steps(cleaned[:, :95], scene[:, :95], 1) < 4


def test_both_directions_at_once():
    random = np.random.default_rng(0)
    base = np.full(SHAPE, 7000, np.uint16)
    dirty = striped(striped(base, random.normal(0, 8, SHAPE[1]), 1), random.normal(0, 8, 120), 0)
    cleaned = Stripes("both").apply(noisy(dirty, random))
    for axis in (0, 1):
        assert neighbour_steps(cleaned, base, axis) < neighbour_steps(dirty, base, axis) / 5


def test_counts_at_the_ends_of_the_range_do_not_wrap():
    random = np.random.default_rng(0)
    base = np.full(SHAPE, 120, np.uint8)
    dirty = striped(base, random.normal(0, 4, SHAPE[1]), 1)
    dirty[10:20], dirty[30:40] = 255, 0
    cleaned = Stripes("columns").apply(dirty)
    assert cleaned[10:20].min() > 200
    assert cleaned[30:40].max() < 55


def test_a_slow_gradient_is_the_scenes_and_stays():
    sky = np.tile((6000 + 4 * np.arange(SHAPE[1])).astype(np.uint16), (SHAPE[0], 1))
    cleaned = Stripes("columns").apply(noisy(sky, np.random.default_rng(0)))
    inner = np.s_[:, 40:120]
    slope = np.polyfit(np.arange(40, 120), cleaned[inner].mean(axis=0), 1)[0]
    assert slope == pytest.approx(4.0, rel=0.05)


def test_another_size_forgets_the_stripes_of_the_one_before():
    random = np.random.default_rng(0)
    stripes, cleaner = random.normal(0, 8, SHAPE[1]), Stripes("both")
    for (height, width), sign in ((SHAPE, 1), ((60, 80), -1), (SHAPE, -1)):
        base = np.full((height, width), 7000, np.uint16)
        dirty = noisy(striped(base, sign * stripes[:width], 1), random)
        cleaned = cleaner.apply(dirty)
        assert neighbour_steps(cleaned, base, 1) < neighbour_steps(dirty, base, 1) / 5
        # As one that never saw another size.
        assert np.array_equal(cleaned, Stripes("both").apply(dirty))


def test_without_a_mode_the_frame_is_passed_on_as_it_is():
    frame = np.zeros(SHAPE, np.uint16)
    assert Stripes().apply(frame) is frame


def test_cleaning_takes_off_the_stripes_that_it_is_told_to():
    random = np.random.default_rng(0)
    base = np.full(SHAPE, 7000, np.uint16)
    dirty = noisy(striped(base, random.normal(0, 8, SHAPE[1]), 1), random)
    cleaning = ThermalCleaning(stripes="columns")
    cleaned = cleaning.apply(dirty)
    assert neighbour_steps(cleaned, base, 1) < neighbour_steps(dirty, base, 1) / 5
    cleaning.stripes = "none"
    assert cleaning.apply(dirty) is dirty


def test_stripes_on_a_real_radiometric_frame_are_reduced_five_times(shared_data):
    path = shared_data / "radiometric" / "example_radiometric.tiff"
    real = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    base = cv2.GaussianBlur(real, (0, 0), 2.0)  # without the stripes that it has itself
    random = np.random.default_rng(0)
    dirty = striped(base, random.normal(0, 8, base.shape[1]), 1)
    cleaned = Stripes("columns").apply(noisy(dirty, random))
    assert neighbour_steps(cleaned, base, 1) < neighbour_steps(dirty, base, 1) / 5
