"""Losses found in stamps alone."""

from __future__ import annotations

import numpy as np
import pytest

from ssvif_core.stamp_gaps import stamp_gaps

PERIOD_NS = 33_333_333


def grid(count, jitter_ns=0, seed=0):
    rng = np.random.default_rng(seed)
    return np.arange(count) * PERIOD_NS + rng.integers(-jitter_ns, jitter_ns + 1, count)


@pytest.mark.parametrize("jitter_ms", [0, 2, 5])
def test_a_camera_that_loses_nothing_has_no_gaps(jitter_ms):
    gaps = stamp_gaps(grid(60, jitter_ms * 1_000_000))
    assert gaps.lost == 0
    assert gaps.period_s == pytest.approx(1 / 30, rel=0.02)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.7])
def test_the_share_that_was_lost_is_found_without_knowing_the_rate(share):
    rng = np.random.default_rng(1)
    received = grid(200, 1_000_000)[rng.random(200) >= share]
    gaps = stamp_gaps(received)
    assert gaps.lost_share == pytest.approx(share, abs=0.08)
    assert gaps.period_s == pytest.approx(1 / 30, rel=0.02)


def test_one_lost_frame_is_one():
    assert stamp_gaps(np.delete(grid(60), 20)).lost == 1


def test_stamps_on_no_grid_tell_nothing():
    rng = np.random.default_rng(2)
    assert stamp_gaps(np.cumsum(rng.exponential(3e7, 100)).astype(np.int64)) is None


def test_too_few_stamps_tell_nothing_and_a_loop_starts_anew():
    assert stamp_gaps([]) is None
    assert stamp_gaps(grid(10)) is None
    looped = [*np.delete(grid(40), [5, 9]), *grid(20)]
    assert stamp_gaps(looped).lost == 0


def test_a_camera_that_was_off_for_a_while_has_lost_nothing():
    assert stamp_gaps([*grid(20), *(grid(20) + 3_600_000_000_000)]).lost == 0


def test_repeated_stamps_are_no_frames():
    assert stamp_gaps(np.repeat(grid(40), 2)).lost == 0


@pytest.mark.parametrize("factors", [(1, 2), (2, 1), (2, 3), (3, 2)])
@pytest.mark.parametrize("jitter_ms", [0, 1])
def test_a_rate_that_changes_is_no_loss_at_any_moment(factors, jitter_ms):
    """Exposure in the dark. A tenth is what the node warns about."""
    intervals = np.repeat(np.array(factors) * PERIOD_NS // 2, 60)
    stamps = np.cumsum(intervals) + grid(120, jitter_ms * 1_000_000) - grid(120)
    for end in range(60, 120):
        gaps = stamp_gaps(stamps[end - 59 : end + 1])
        assert gaps is None or gaps.lost_share <= 0.1, end
    assert gaps.lost == 0
    assert gaps.period_s == pytest.approx(factors[1] / 60, rel=0.02)


def test_frames_that_are_lost_after_a_change_of_rate_are_found():
    slow = 2 * np.delete(grid(60), [20, 30, 31, 40])
    gaps = stamp_gaps([*grid(30), *(slow + 31 * PERIOD_NS)])
    assert gaps.lost == 4
    assert gaps.period_s == pytest.approx(1 / 15, rel=0.01)


@pytest.mark.parametrize("silent_s", [0.6, 3, 4.9])
def test_a_driver_that_was_started_again_has_lost_nothing(silent_s):
    again = np.delete(grid(40), 20) + 30 * PERIOD_NS + round(silent_s * 1e9)
    assert stamp_gaps([*grid(30), *again]).lost == 1
