"""The halo figure on edges whose halos are drawn by hand."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ssvif_core.errors import SsvifError
from ssvif_core.evaluation.artefacts import halo, overshoot
from ssvif_core.evaluation.baselines import BASELINES
from ssvif_core.evaluation.halos import CLEAR, NEAR, STRONG

ROWS, COLUMNS, ROOF = 80, 200, 100
FROM_ROOF = ROOF - np.arange(COLUMNS)  # pixels to the left of the roof's first column


def sky_and_roof() -> tuple[np.ndarray, np.ndarray]:
    """A dark roof before a white sky, which a thermal camera sees the other way round."""
    visible = np.full((ROWS, COLUMNS), 230, np.uint8)
    thermal = np.full((ROWS, COLUMNS), 10, np.uint8)
    visible[:, ROOF:], thermal[:, ROOF:] = 90, 160
    return visible, thermal


def with_rim(slope: float, width: int) -> np.ndarray:
    """Pixel max, darkened towards the roof by `slope` levels a pixel over `width` pixels of sky."""
    rim = np.clip(width + 1 - FROM_ROOF, 0, width) * slope * (FROM_ROOF > 0)
    return np.maximum(*sky_and_roof()).astype(float) - rim


def test_a_dark_rim_in_the_sky_counts_by_its_slope_although_both_cameras_range_over_it():
    visible, thermal = sky_and_roof()
    rim = with_rim(4.0, 14)
    assert overshoot(rim, visible, thermal) == 0
    figure = halo(rim, visible, thermal)
    # Looked at are some dozen columns on either side; the rim is on one of them, a slope of 4.
    assert 1.0 < figure < 2.0
    assert halo(with_rim(2.0, 14), visible, thermal) == pytest.approx(figure / 2, rel=0.05)
    assert halo(with_rim(4.0, 7), visible, thermal) < 0.7 * figure


def test_a_bright_rim_counts_like_a_dark_one():
    visible, thermal = sky_and_roof()
    rim = with_rim(4.0, 14)
    assert halo(255 - rim, 255 - visible, 255 - thermal) == pytest.approx(
        halo(rim, visible, thermal)
    )


def test_copies_means_and_pixel_max_have_no_halo_and_a_pyramid_has():
    visible, thermal = sky_and_roof()
    blurred = [cv2.GaussianBlur(image, (0, 0), 1.5) for image in (visible, thermal)]
    for pair in ((visible, thermal), blurred):
        for method in ("average", "max"):
            assert halo(BASELINES[method](*pair), *pair) < 0.02
        assert halo(pair[0], *pair) == halo(pair[1], *pair) == 0
        assert halo(BASELINES["laplacian"](*pair), *pair) > 0.5


def test_an_edge_that_is_sharpened_in_place_is_no_halo():
    visible, thermal = sky_and_roof()
    soft = cv2.GaussianBlur(visible, (0, 0), 1.0).astype(float)
    sharp = np.clip(160 + 2.0 * (soft - 160), 0, 255)
    assert halo(sharp, soft, thermal) < 0.05


def test_only_smooth_places_beside_a_strong_edge_are_looked_at():
    visible, thermal = sky_and_roof()
    flat = np.full_like(visible, 120)
    shaded = with_rim(4.0, 14)
    assert np.isnan(halo(shaded, flat, flat))
    faint = np.where(FROM_ROOF > 0, 120, 120 + 3 * STRONG) + np.zeros((ROWS, 1))
    assert np.isnan(halo(shaded, faint, flat))
    texture = np.random.default_rng(0).integers(0, 255, visible.shape).astype(np.uint8)
    assert np.isnan(halo(shaded, texture, thermal))
    far = np.maximum(visible, thermal).astype(float)
    far[:, : ROOF - NEAR - 8] -= 40  # a step of its own, but too far from the roof
    far[:, ROOF - CLEAR : ROOF] -= 40  # and one that the roof's own blur may make
    assert halo(far, visible, thermal) < 0.35 * halo(with_rim(4.0, 14), visible, thermal)


def test_sensor_noise_in_the_sky_is_not_taken_for_a_halo():
    rng = np.random.default_rng(0)
    visible, thermal = (
        np.clip(np.rint(image + rng.normal(0, 2, image.shape)), 0, 255) for image in sky_and_roof()
    )
    noisy = np.maximum(visible, thermal) + rng.normal(0, 2, visible.shape)
    assert halo(noisy, visible, thermal) < 0.15


def test_images_of_other_sizes_are_refused():
    visible, thermal = sky_and_roof()
    with pytest.raises(SsvifError, match="differ"):
        halo(visible[:-1], visible, thermal)
