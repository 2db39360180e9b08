"""Drawn scenes: repeatable, physically plausible, and true to their labels."""

from __future__ import annotations

import numpy as np
import pytest

from ssvif_core.errors import SsvifError
from ssvif_core.simulation.paint import Camera
from ssvif_core.simulation.physics import (
    WEATHER,
    band_radiance,
    celsius_from_counts,
    counts_from_celsius,
)
from ssvif_core.simulation.scenes import SCENE_KINDS, SCENE_LABELS, Scene, SceneShow

CAR, PERSON, BICYCLE = (SCENE_LABELS.index(name) for name in ("car", "person", "bicycle"))


@pytest.fixture(scope="module")
def scenes() -> dict[str, Scene]:
    return {kind: Scene(kind, 320, 240, seed=1) for kind in SCENE_KINDS}


def _around(mask: np.ndarray) -> np.ndarray:
    """Background within a few pixels of a mask."""
    grown = mask.copy()
    for _ in range(6):
        grown[1:] |= grown[:-1]
        grown[:-1] |= grown[1:]
        grown[:, 1:] |= grown[:, :-1]
        grown[:, :-1] |= grown[:, 1:]
    return grown


def _contrast(image: np.ndarray, labels: np.ndarray) -> float:
    """Mean over people less the mean over background beside them."""
    people = labels == PERSON
    beside = _around(people) & (labels == 0)
    return float(image[people].mean() - image[beside].mean())


@pytest.mark.parametrize("kind", SCENE_KINDS)
def test_the_same_kind_size_seed_and_time_give_the_same_bytes(kind):
    first = Scene(kind, 160, 120, seed=4).render(2.25)
    again = Scene(kind, 160, 120, seed=4)
    again.render(9.0)  # what was rendered before does not matter
    second = again.render(2.25)
    for name in ("visible", "thermal", "labels"):
        assert np.array_equal(getattr(first, name), getattr(second, name))


@pytest.mark.parametrize("kind", SCENE_KINDS)
def test_each_modality_alone_is_what_both_together_are(scenes, kind):
    both = scenes[kind].render(1.5)
    visible = scenes[kind].render(1.5, thermal=False, labels=False)
    thermal = scenes[kind].render(1.5, visible=False, labels=False)
    assert np.array_equal(visible.visible, both.visible)
    assert np.array_equal(thermal.thermal, both.thermal)
    assert visible.thermal.size == visible.labels.size == thermal.visible.size == 0


def test_another_seed_gives_another_street():
    one, other = (Scene("day", 160, 120, seed=seed).render(1.0) for seed in (0, 1))
    assert np.abs(one.visible.astype(int) - other.visible).mean() > 5
    assert not np.array_equal(one.labels, other.labels)


@pytest.mark.parametrize(("width", "height"), [(640, 480), (321, 243), (32, 32), (200, 100)])
def test_frames_have_the_size_and_types_that_were_asked_for(width, height):
    frame = Scene("night", width, height).render(0.5)
    assert frame.visible.shape == (height, width, 3) and frame.visible.dtype == np.uint8
    assert frame.thermal.shape == (height, width) and frame.thermal.dtype == np.uint16
    assert frame.labels.shape == (height, width) and frame.labels.dtype == np.uint8
    assert frame.visible.flags.c_contiguous and frame.thermal.flags.c_contiguous


@pytest.mark.parametrize("kind", SCENE_KINDS)
def test_cars_people_and_bicycles_are_in_every_kind(scenes, kind):
    seen = {int(v) for t in (0.5, 2.0, 3.5) for v in np.unique(scenes[kind].render(t).labels)}
    assert seen == {0, CAR, PERSON, BICYCLE}


@pytest.mark.parametrize("kind", SCENE_KINDS)
def test_people_are_warmer_than_what_is_beside_them(scenes, kind):
    for time_s in (0.5, 2.0, 3.5):
        frame = scenes[kind].render(time_s, visible=False)
        assert _contrast(frame.thermal, frame.labels) > 150  # about 2 K


def test_smoke_hides_people_from_the_visible_camera_only(scenes):
    smoke, clear = scenes["smoke"].render(2.0), scenes["day"].render(2.0)
    grey = [frame.visible.mean(axis=2) for frame in (smoke, clear)]
    assert abs(_contrast(grey[0], smoke.labels)) < 3.0
    assert abs(_contrast(grey[1], clear.labels)) > 15.0
    assert _contrast(smoke.thermal, smoke.labels) > 150


def test_smoke_moves(scenes):
    early, late = (scenes["smoke"].render(t, thermal=False).visible.astype(int) for t in (1, 3))
    assert np.abs(early - late).mean() > 3


def test_night_is_dark_and_glare_is_blinding(scenes):
    frames = {kind: scenes[kind].render(2.0).visible for kind in SCENE_KINDS}
    assert frames["night"].mean() < 45 < 100 < frames["day"].mean()
    assert frames["night"].max() > 200  # lamps
    blown = {kind: (image.min(axis=2) >= 215).mean() for kind, image in frames.items()}
    assert blown["glare"] > 0.1 > blown["day"]


@pytest.mark.parametrize("kind", SCENE_KINDS)
def test_things_move_and_the_labels_follow(scenes, kind):
    before, after = (scenes[kind].render(t) for t in (1.0, 1.5))
    assert (before.labels != after.labels).mean() > 0.005
    left = (before.labels == PERSON) & (after.labels == 0)  # where somebody was
    change = before.thermal.astype(int) - after.thermal
    assert change[left].mean() > 150
    still = (before.labels == 0) & (after.labels == 0) & ~_around(before.labels > 0)
    still &= ~_around(after.labels > 0)
    assert abs(change[still].mean()) < 2 and change[still].std() < (60 if kind == "smoke" else 12)


def test_two_frames_of_one_moment_differ_in_noise_only(scenes):
    one, other = (scenes["day"].render(t).thermal.astype(int) for t in (1.0, 1.000004))
    # Standard deviation of a difference of two noises of 4 counts: 4 * sqrt(2) = 5.7.
    assert 4.0 < np.std((one - other)[:60]) < 7.0


def test_counts_follow_plancks_law():
    # A black body at 300 K sends 172 W/m2 into 8 to 14 um (37.6 % of sigma T^4 = 459), over pi.
    assert band_radiance(26.85) == pytest.approx(0.376 * 459.3 / np.pi, rel=0.01)
    assert celsius_from_counts(counts_from_celsius(36.6)) == pytest.approx(36.6, abs=0.01)
    # Of a mirror only the surroundings are seen, of a black body nothing of them.
    weather = WEATHER["day"]
    assert weather.apparent_counts(80.0, 0.0) == weather.apparent_counts(-20.0, 0.0)
    assert weather.apparent_counts(20.0, 1.0) == counts_from_celsius(20.0)
    # Thick air is as warm as itself.
    assert weather.through_air(np.float64(9000.0), 1e6) == pytest.approx(
        counts_from_celsius(weather.air_c)
    )


def test_a_man_is_as_tall_as_a_pinhole_sees_him():
    # f = 640 px; 1.75 m at 10 m is 640 * 1.75 / 10 = 112 px; his feet are 1.4 m under the axis,
    # so 640 * 1.4 / 10 = 89.6 px under the middle of the image, row 239.5.
    head, feet = Camera(640, 480).project(np.array([[0, 1.75, 10.0], [0, 0, 10.0]]))
    assert feet[1] - head[1] == pytest.approx(112.0)
    assert feet.tolist() == pytest.approx([319.5, 239.5 + 89.6])


def test_the_show_plays_every_kind_within_fifteen_seconds():
    show = SceneShow(64, 48, seed=2)
    kinds = [show.kind_at(t) for t in np.arange(0.0, 15.0, 0.25)]
    assert list(dict.fromkeys(kinds)) == list(SCENE_KINDS)
    assert np.array_equal(show.render(4.0).visible, show.render(4.0).visible)
    night = SceneShow(64, 48, seed=2, seconds_each=2.0)
    assert night.kind_at(3.0) == "night" and night.kind_at(11.0) == "night"
    # The second round goes on where the first one ended: 1 s into the night, then 2 + 1 s.
    assert np.array_equal(
        night.render(11.0).visible, Scene("night", 64, 48, seed=2).render(3.0).visible
    )


def test_what_cannot_be_drawn_is_refused_with_the_choices():
    with pytest.raises(SsvifError, match="day, night, glare, smoke"):
        Scene("fog")  # type: ignore[arg-type]
    with pytest.raises(SsvifError, match="32 to 4096"):
        Scene("day", 0, 480)
    with pytest.raises(SsvifError, match="above 0"):
        SceneShow(seconds_each=0.0)
