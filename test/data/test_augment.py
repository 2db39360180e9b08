"""Augmentation is repeatable, keeps its range, tells the truth about lost cameras."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra `train` (torch)")

import cv2  # noqa: E402

from ssvif_core.data import degrade  # noqa: E402
from ssvif_core.data.augment import (  # noqa: E402
    augment_thermal,
    augment_visible,
    misregister,
    random_crop,
)
from ssvif_core.data.degrade import Draw, drop_modality, sometimes  # noqa: E402
from ssvif_core.data.pairs import FramePair  # noqa: E402

VISIBLE_EFFECTS = [degrade.haze, degrade.glare, degrade.shot_noise, degrade.read_noise(0.05)]
THERMAL_EFFECTS = [degrade.stripes, degrade.vignette, degrade.dead_pixels, degrade.gain_jump]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def batch(frame_pairs):
    """Simulated frames: visible (B, 3, 120, 160) and thermal (B, 1, 120, 160)."""
    visible = torch.from_numpy(np.stack([pair[0] for pair in frame_pairs])).permute(0, 3, 1, 2)
    thermal = torch.from_numpy(np.stack([pair[1] for pair in frame_pairs])).unsqueeze(1)
    return visible / 255.0, thermal / 255.0


@pytest.mark.parametrize(("augment", "part"), [(augment_visible, 0), (augment_thermal, 1)])
def test_photometry_is_a_function_of_the_generator_and_leaves_its_input_alone(batch, augment, part):
    images = batch[part]
    before = images.clone()
    first = augment(images, seeded(1))
    assert torch.equal(first, augment(images, seeded(1)))
    assert not torch.equal(first, augment(images, seeded(2)))
    assert torch.equal(images, before)


@pytest.mark.parametrize(("augment", "part"), [(augment_visible, 0), (augment_thermal, 1)])
def test_photometry_keeps_shape_and_range_for_many_seeds(batch, augment, part):
    for seed in range(40):
        result = augment(batch[part], seeded(seed))
        assert result.shape == batch[part].shape
        assert result.dtype == torch.float32
        assert torch.isfinite(result).all()
        assert 0 <= result.min() <= result.max() <= 1


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_uniform_frames_survive_photometry(level):
    for seed in range(20):
        assert torch.isfinite(
            augment_visible(torch.full((2, 3, 32, 48), level), seeded(seed))
        ).all()
        assert torch.isfinite(
            augment_thermal(torch.full((2, 1, 32, 48), level), seeded(seed))
        ).all()


@pytest.mark.parametrize(
    ("effect", "part"),
    [(effect, 0) for effect in VISIBLE_EFFECTS] + [(effect, 1) for effect in THERMAL_EFFECTS],
)
def test_each_effect_changes_its_frame_and_keeps_its_shape(batch, effect, part):
    images = batch[part]
    result = effect(images, Draw(len(images), seeded(0)))
    assert result.shape == images.shape
    assert torch.isfinite(result).all()
    assert all((a != b).any() for a, b in zip(result, images, strict=True))


def test_an_effect_touches_only_the_frames_that_it_is_drawn_for(batch):
    images = batch[1]
    assert torch.equal(sometimes(images.clone(), 0.0, degrade.stripes, seeded(0)), images)
    some = sometimes(images.clone(), 0.5, degrade.stripes, seeded(0))
    changed = [bool((a != b).any()) for a, b in zip(some, images, strict=True)]
    assert any(changed)
    assert not all(changed)


def test_haze_lies_thicker_over_what_is_far():
    black = torch.zeros(8, 3, 64, 64)
    veil = degrade.haze(black, Draw(8, seeded(0)))
    assert (veil[:, :, 0].mean((1, 2)) > veil[:, :, -1].mean((1, 2))).all()


def test_glare_only_adds_light_and_saturates_its_core():
    lit = degrade.glare(torch.zeros(32, 3, 64, 64), Draw(32, seeded(0)))
    assert lit.min() >= 0
    assert (lit.amax((1, 2, 3)) > 1).float().mean() > 0.8  # some lights lie outside of the frame


def test_shot_noise_grows_with_light():
    ramp = torch.linspace(0.0, 1.0, 5).reshape(1, 1, 5, 1).repeat(1, 3, 1, 4000)
    spread = degrade.shot_noise(ramp, Draw(1, seeded(0))).std((0, 1, 3))
    assert spread[0] == 0
    assert (spread.diff() > 0).all()


def test_another_automatic_gain_never_turns_hot_into_cold(batch):
    thermal = batch[1]
    for seed in range(10):
        after = degrade.gain_jump(thermal, Draw(len(thermal), seeded(seed)))
        assert 0 <= after.min() <= after.max() <= 1 + 1e-5
        for x, y in zip(thermal.flatten(1), after.flatten(1), strict=True):
            order = x.argsort()
            assert (y[order].diff() >= -1e-6).all()


def test_dead_pixels_are_few_and_black_or_white(batch):
    thermal = torch.full((4, 1, 100, 100), 0.5)
    after = degrade.dead_pixels(thermal, Draw(4, seeded(0)))
    dead = after[after != 0.5]
    assert 4 <= len(dead) <= 4 * 11
    assert set(dead.tolist()) == {0.0, 1.0}


def test_stripes_are_constant_along_rows_or_columns():
    flat = torch.full((8, 1, 40, 60), 0.5)
    for frame in degrade.stripes(flat, Draw(8, seeded(0))):
        along_columns = bool((frame.diff(dim=-2).abs() < 1e-6).all())
        along_rows = bool((frame.diff(dim=-1).abs() < 1e-6).all())
        assert along_columns != along_rows


# -- crops --------------------------------------------------------------------------------------


def _marked_pair() -> FramePair:
    """A bright, hot, labelled square on black, and nothing else."""
    visible = np.zeros((240, 320, 3), np.uint8)
    thermal = np.zeros((240, 320), np.uint8)
    labels = np.zeros((240, 320), np.uint8)
    for image, value in ((visible, 255), (thermal, 255), (labels, 2)):
        image[90:150, 130:190] = value
    return FramePair("square", visible, thermal, labels)


def test_crops_are_a_function_of_the_generator():
    pair = _marked_pair()
    for seed in range(5):
        first = random_crop(pair, (96, 128), np.random.default_rng(seed))
        second = random_crop(pair, (96, 128), np.random.default_rng(seed))
        for a, b in zip(first, second, strict=True):
            np.testing.assert_array_equal(a, b)


def test_labels_stay_on_the_visible_pixels_and_thermal_within_a_few():
    pair = _marked_pair()
    moved = 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        visible, thermal, labels = random_crop(pair, (96, 128), rng, centre=(120, 160))
        assert visible.shape == (96, 128, 3)
        assert thermal.shape == labels.shape == (96, 128)
        assert set(np.unique(labels)) <= {0, 2}
        # Half-way between black and white lies the edge, blurred or not: a pixel of tolerance.
        square = labels == 2
        inside = (
            cv2.erode(square.astype(np.uint8), np.ones((3, 3)), borderType=0, borderValue=0) > 0
        )
        outside = cv2.dilate(square.astype(np.uint8), np.ones((3, 3))) == 0
        corners = np.zeros_like(inside)  # blur rounds the corners of the square
        ys, xs = np.nonzero(square)
        for y in (ys.min(), ys.max()):
            for x in (xs.min(), xs.max()):
                corners[max(0, y - 8) : y + 9, max(0, x - 8) : x + 9] = True
        assert (visible[..., 0][inside & ~corners] > 127).all()
        assert (visible[..., 0][outside & ~corners] < 128).all()
        overlap = ((thermal > 127) & square).sum() / ((thermal > 127) | square).sum()
        assert overlap > 0.7
        moved += overlap < 0.97
    assert 3 <= moved <= 75


def test_misregistration_moves_no_pixel_further_than_registration_may_leave():
    rows, columns = np.mgrid[0:256, 0:320]
    for seed in range(20):
        # The same random numbers move an image of rows and one of columns alike.
        y = misregister(rows.astype(np.float32), np.random.default_rng(seed))
        x = misregister(columns.astype(np.float32), np.random.default_rng(seed))
        inner = (slice(20, -20), slice(20, -20))
        way = np.hypot((y - rows)[inner], (x - columns)[inner])
        # 3 px each way, 0.7 degrees and 1 % of the 200 px from the centre to a corner
        assert way.max() < np.hypot(3, 3) + 205 * np.hypot(np.radians(0.7), 0.01) + 0.1
        assert y.min() >= 0
        assert y.max() <= 255
        assert (x[:, 0] >= 0).all()  # replicated, not black


def test_a_frame_without_labels_gives_unknown_everywhere():
    pair = _marked_pair()
    unlabelled = FramePair("square", pair.visible, pair.thermal)
    _, _, labels = random_crop(unlabelled, (96, 128), np.random.default_rng(0))
    assert (labels == 255).all()


# -- lost cameras -------------------------------------------------------------------------------


def test_the_state_tells_which_camera_was_taken_and_never_both(batch):
    visible, thermal = batch
    before = visible.clone(), thermal.clone()
    seen = set()
    for seed in range(30):
        lost_visible, lost_thermal, state = drop_modality(visible, thermal, seeded(seed), 0.6)
        assert state.dtype == torch.int8
        assert state.shape == (len(visible),)
        for i, lost in enumerate(state.tolist()):
            visible_changed = not torch.equal(lost_visible[i], visible[i])
            thermal_changed = not torch.equal(lost_thermal[i], thermal[i])
            assert (visible_changed, thermal_changed) == (lost == 1, lost == 2)
            seen.add(lost)
        assert min(lost_visible.min(), lost_thermal.min()) >= 0
        assert max(lost_visible.max(), lost_thermal.max()) <= 1
    assert seen == {0, 1, 2}
    assert torch.equal(before[0], visible)
    assert torch.equal(before[1], thermal)


@pytest.mark.parametrize(("part", "lost"), [(0.0, {1}), (1.0, {2})])
def test_which_camera_is_lost_can_be_chosen(batch, part, lost):
    states = [drop_modality(*batch, seeded(s), 1.0, thermal_part=part)[2] for s in range(5)]
    assert set(torch.cat(states).tolist()) == lost


def test_a_lost_camera_is_black_saturated_or_another_moment(batch):
    visible, thermal = batch
    kinds = {"black": 0, "saturated": 0, "of the batch": 0, "moved aside": 0}
    for seed in range(40):
        lost_visible, _, state = drop_modality(visible, thermal, seeded(seed), 1.0)
        for i in (state == 1).nonzero().flatten().tolist():
            picture = lost_visible[i]
            if picture.mean() < 0.02:
                kinds["black"] += 1
            elif picture.mean() > 0.97:
                kinds["saturated"] += 1
            elif any(torch.equal(picture, other) for other in visible):
                kinds["of the batch"] += 1
            else:
                kinds["moved aside"] += 1
    total = sum(kinds.values())
    assert 0.4 < kinds["black"] / total < 0.6
    assert 0.15 < kinds["saturated"] / total < 0.35
    assert kinds["of the batch"] > 0
    assert kinds["moved aside"] > 0


def test_losing_a_camera_is_a_function_of_the_generator(batch):
    first = drop_modality(*batch, seeded(4), 0.5)
    for a, b in zip(first, drop_modality(*batch, seeded(4), 0.5), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first[2], drop_modality(*batch, seeded(5), 0.5)[2])


def test_without_probability_nothing_is_lost(batch):
    visible, thermal, state = drop_modality(*batch, seeded(0), 0.0)
    assert torch.equal(visible, batch[0])
    assert torch.equal(thermal, batch[1])
    assert not state.any()


def test_the_last_camera_that_shows_something_is_never_taken(batch):
    visible, thermal = batch
    for seed in range(10):
        _, _, state = drop_modality(torch.zeros_like(visible), thermal, seeded(seed), 1.0)
        assert set(state.tolist()) <= {0, 1}


def test_a_frozen_camera_shows_a_donor_when_donors_are_given(batch):
    visible, thermal = batch
    donors = (torch.full((2, 3, 120, 160), 0.25), torch.full((2, 1, 120, 160), 0.75))
    found = set()
    for seed in range(20):
        a, b, state = drop_modality(visible, thermal, seeded(seed), 1.0, *donors)
        found |= {lost for x, lost in zip(a, state.tolist(), strict=True) if (x == 0.25).all()}
        found |= {lost for x, lost in zip(b, state.tolist(), strict=True) if (x == 0.75).all()}
    assert found == {1, 2}


def test_a_single_crop_freezes_to_its_own_picture_moved_aside(batch):
    visible, thermal = batch[0][:1], batch[1][:1]
    for seed in range(30):
        a, b, state = drop_modality(visible, thermal, seeded(seed), 1.0)
        assert not torch.equal(
            a if state.item() == 1 else b, visible if state.item() == 1 else thermal
        )
