"""Artefact figures on images whose figures follow from their equations."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ssvif_core.errors import SsvifError
from ssvif_core.evaluation.artefacts import (
    ARTEFACTS,
    evaluate_artefacts,
    flat_artefacts,
    overshoot,
)
from ssvif_core.evaluation.baselines import BASELINES

GRAY = np.full((80, 96), 100.0)
CHECKER = np.where(np.indices(GRAY.shape).sum(0) % 2, 1.0, -1.0)


def noisy_pair():
    """Two smooth scenes with sensor noise of 1 grey level; one holds a block with strong edges."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(60, 90, 96)[None] + np.zeros((80, 1))
    images = [ramp, ramp[:, ::-1] + 10]
    images[1][20:60, 30:66] += 100
    return [np.rint(i + rng.normal(0, 1, i.shape)).astype(np.uint8) for i in images]


def test_a_checkerboard_of_one_level_on_flat_gray_gives_one():
    # The binomial low-pass turns a checkerboard to 0, so X - B X is the checkerboard, energy 1.
    assert flat_artefacts(GRAY + CHECKER, GRAY, GRAY) == pytest.approx(1, abs=0.01)
    # Squares of 2 x 2: along an axis the low-pass gives (1 + 2 - 1) / 4 = 1/2, along both 1/4, so
    # X - B X is 3/4; the border, which is continued by reflection, differs a little.
    squares = np.kron(CHECKER[:40, :48], np.ones((2, 2)))
    assert flat_artefacts(GRAY + squares, GRAY, GRAY) == pytest.approx(0.75, abs=0.01)


def test_white_noise_gives_0_8_of_its_deviation():
    # X - B X has the coefficients 3/4, four -1/8, four -1/16: the sum of squares is 0.6406.
    noise = np.random.default_rng(0).normal(0, 1, GRAY.shape)
    assert flat_artefacts(GRAY + noise, GRAY, GRAY) == pytest.approx(np.sqrt(0.6406), abs=0.02)


def test_copies_and_means_of_the_sources_give_nothing_and_max_next_to_nothing():
    visible, thermal = noisy_pair()
    for copy in (visible, thermal):
        assert evaluate_artefacts(copy, visible, thermal) == dict.fromkeys(ARTEFACTS, 0.0)
    mean = (visible / 2 + thermal / 2).astype(np.float64)
    assert flat_artefacts(mean, visible, thermal) < 0.1
    assert flat_artefacts(BASELINES["max"](visible, thermal), visible, thermal) < 0.15
    checkered = visible + CHECKER
    assert flat_artefacts(checkered, visible, thermal) > 0.8


def test_all_figures_are_symmetric_in_the_sources():
    visible, thermal = noisy_pair()
    assert not np.isnan(evaluate_artefacts(visible, visible, thermal)["halo"])
    fused = np.clip(1.4 * visible.astype(float) - 0.2 * thermal + CHECKER, 0, 255)
    assert flat_artefacts(fused, visible, thermal) > 0
    assert evaluate_artefacts(fused, visible, thermal) == evaluate_artefacts(
        fused, thermal, visible
    )


def test_texture_that_a_camera_sees_is_no_flat_region():
    texture = np.random.default_rng(0).integers(0, 200, GRAY.shape).astype(np.float64)
    assert np.isnan(flat_artefacts(texture, texture, GRAY))
    half = np.where(np.arange(96) < 48, 100.0, texture)  # the left half is flat in both
    assert flat_artefacts(half + CHECKER, half, GRAY) == pytest.approx(1, abs=0.05)
    # The same checkerboard on the textured half only is not counted.
    assert flat_artefacts(half + CHECKER * (np.arange(96) > 60), half, GRAY) < 0.05


def test_a_halo_counts_by_what_leaves_the_range_of_both_sources():
    thermal = np.full((100, 100), 40.0)
    thermal[40:60, 40:60] = 200.0
    visible = np.full((100, 100), 90.0)
    fused = np.maximum(visible, thermal)
    assert overshoot(fused, visible, thermal) == 0
    fused[37:40, 40:60] = 25.0  # 60 pixels, 15 below the darkest source nearby
    assert overshoot(fused, visible, thermal) == pytest.approx(60 * 15 / 100**2)
    fused[0, 0] = 100.0  # one pixel 10 above the brighter source nearby
    assert overshoot(fused, visible, thermal) == pytest.approx((60 * 15 + 10) / 100**2)


def test_unsharp_masking_shows_in_the_overshoot():
    scene = cv2.GaussianBlur(np.kron(CHECKER[:8, :8] * 60 + 120, np.ones((16, 16))), (0, 0), 2)
    sharpened = scene + 2 * (scene - cv2.GaussianBlur(scene, (0, 0), 3))
    assert overshoot(sharpened, scene, scene) > 1
    assert overshoot(scene, scene, scene) == 0


def test_colour_images_are_judged_by_their_luminance():
    visible, thermal = noisy_pair()
    colour = np.stack([visible] * 3, -1)
    assert evaluate_artefacts(colour, colour, thermal) == dict.fromkeys(ARTEFACTS, 0.0)


@pytest.mark.parametrize(
    ("shapes", "reason"), [([(64, 64), (64, 64), (64, 63)], "differ"), ([(8, 64)] * 3, "too small")]
)
def test_images_that_cannot_be_compared_are_refused(shapes, reason):
    with pytest.raises(SsvifError, match=reason):
        flat_artefacts(*(np.zeros(shape, np.uint8) for shape in shapes))
