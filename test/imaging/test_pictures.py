"""Palettes, overlays and panels."""

from __future__ import annotations

import numpy as np
import pytest

from ssvif_core.errors import SsvifError
from ssvif_core.imaging.overlay import draw_overlay
from ssvif_core.imaging.palettes import (
    THERMAL_PALETTES,
    colorize_labels,
    colorize_thermal,
    label_colors,
)
from ssvif_core.imaging.panels import contact_sheet, panel_row, with_legend

PALETTE = np.zeros((256, 3), np.uint8)
PALETTE[2] = (200, 100, 0)


def test_labels_take_the_colours_of_their_palette():
    labels = np.array([[0, 2], [2, 7]], np.uint8)
    expected = [[[0, 0, 0], [200, 100, 0]], [[200, 100, 0], [0, 0, 0]]]
    assert colorize_labels(labels, PALETTE).tolist() == expected


@pytest.mark.parametrize("name", THERMAL_PALETTES)
def test_thermal_palettes_run_from_cold_to_hot(name):
    ramp = colorize_thermal(np.arange(256, dtype=np.uint8)[None], name)
    assert ramp.shape == (1, 256, 3)
    luma = ramp[0].astype(float) @ (0.299, 0.587, 0.114)
    if name in ("white_hot", "inferno"):
        assert luma[-1] > luma[128] > luma[0]
    if name == "black_hot":
        assert luma[0] == 255


def test_an_unknown_palette_names_the_known_ones():
    with pytest.raises(SsvifError, match="inferno"):
        colorize_thermal(np.zeros((2, 2), np.uint8), "rainbow")


def test_an_overlay_tints_masks_draws_their_border_and_leaves_the_background_alone():
    image = np.full((20, 20, 3), 100, np.uint8)
    labels = np.zeros((20, 20), np.uint8)
    labels[5:15, 5:15] = 2
    drawn = draw_overlay(image, labels, PALETTE, alpha=0.5)
    assert (drawn[labels == 0] == 100).all()
    assert drawn[5, 5].tolist() == [200, 100, 0]  # border: opaque
    assert drawn[10, 10].tolist() == [150, 100, 50]  # inside: half of each
    assert (image == 100).all()


def test_panels_of_different_sizes_and_channels_make_one_row():
    row = panel_row(
        [np.zeros((60, 80, 3), np.uint8), np.full((30, 50), 9, np.uint8)], ["left", "right"]
    )
    assert row.shape == (60, 180, 3)
    assert row[:, :80].max() > 200  # the caption
    sheet = contact_sheet([row, np.zeros((60, 90, 3), np.uint8)])
    assert sheet.shape == (60 + 120, 180, 3)


def test_a_legend_has_the_names_in_their_colours_at_the_bottom_within_the_panel():
    image = np.full((480, 120, 3), 128, np.uint8)
    names = {"car": (86, 180, 233), "person": (213, 94, 0), "bicycle": (240, 228, 66)}
    drawn = with_legend(image, names)
    assert (image == 128).all() and (drawn[:240] == 128).all()
    apart = [np.abs(drawn.astype(int) - color).max(-1) for color in names.values()]
    rows = [np.flatnonzero((found < 50).any(1)) for found in apart]
    assert all(len(found) for found in rows)
    assert rows[0].min() > rows[1].max() > rows[2].max()  # narrow: one above the other
    many = {f"class {i}": (i, i, i) for i in range(9)}
    assert (with_legend(image, many) == image).all()


def test_every_label_has_a_colour_of_its_own_and_the_first_ones_stay():
    colors = label_colors(60)
    assert len(set(colors)) == 60
    assert colors[:4] == [(0, 0, 0), (86, 180, 233), (213, 94, 0), (240, 228, 66)]
    assert label_colors(4) == colors[:4]
