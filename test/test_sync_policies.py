"""The policies exact and hold, one camera alone, and that every frame is accounted for."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssvif_core.errors import SsvifError
from ssvif_core.pairing_base import Pair, Pairing
from ssvif_core.sync_policies import SYNC_POLICIES, make_pairing

MS = 1_000_000
LOSSES = ("unpaired", "overflowed", "late", "duplicate", "unstamped", "stale", "withheld")


def milliseconds(pairs: list[Pair]) -> list[tuple[float | None, float | None]]:
    return [
        (
            None if p.visible is None else p.visible_stamp_ns / MS,
            None if p.thermal is None else p.thermal_stamp_ns / MS,
        )
        for p in pairs
    ]


def play(pairing: Pairing, events: list[tuple[str, int]]) -> list:
    """Feed ('v' or 't', stamp in ms) in order, received at their stamps; the pairs in ms."""
    made = []
    for kind, stamp in events:
        add = pairing.add_visible if kind == "v" else pairing.add_thermal
        made += add(stamp * MS, kind, stamp * MS)
    return milliseconds(made)


def check_accounts(pairing: Pairing) -> None:
    counts = asdict(pairing.counts)
    used = {"visible": counts["paired"], "thermal": counts["paired"] - counts["reused_thermal"]}
    for name, pending in zip(("visible", "thermal"), pairing.pending, strict=True):
        lost = sum(counts[f"{kind}_{name}"] for kind in LOSSES)
        accounted = used[name] + counts[f"single_{name}"] + lost + pending
        assert counts[f"received_{name}"] == accounted, (name, counts)


# ---- exact


def test_exact_pairs_equal_stamps_at_once_and_nothing_else():
    pairing = make_pairing("exact", slop_s=0.05)
    assert play(pairing, [("v", 100), ("t", 100)]) == [(100, 100)]  # without any history
    assert play(pairing, [("v", 133), ("t", 134), ("v", 166), ("t", 166)]) == [(166, 166)]
    assert pairing.slop_s == 0
    pairing.slop_s = 0.05
    assert play(pairing, [("v", 200), ("t", 201), ("v", 233), ("t", 233)]) == [(233, 233)]
    check_accounts(pairing)


def test_exact_waits_for_the_camera_that_is_late_and_adds_the_offset():
    pairing = make_pairing("exact", thermal_offset_s=-0.02)
    assert play(pairing, [("v", 100), ("v", 133), ("v", 166)]) == []
    assert play(pairing, [("t", 120), ("t", 153), ("t", 186)]) == [
        (100, 120), (133, 153), (166, 186)
    ]  # fmt: skip


# ---- hold


def test_hold_gives_every_visible_frame_the_newest_thermal_one_at_once():
    pairing = make_pairing("hold")
    assert play(pairing, [("t", 1000), ("v", 1005), ("v", 1038), ("v", 1071), ("v", 1104)]) == [
        (1005, 1000), (1038, 1000), (1071, 1000), (1104, 1000)
    ]  # fmt: skip
    assert play(pairing, [("t", 1111), ("v", 1137)]) == [(1137, 1111)]
    counts = pairing.counts
    assert (counts.paired, counts.reused_thermal) == (5, 3)
    check_accounts(pairing)


def test_hold_at_30_and_9_hz_pairs_every_visible_frame_after_the_first_thermal_one():
    pairing = make_pairing("hold")
    visible = [1000 + round(k * 1000 / 30) for k in range(90)]
    thermal = [1007 + round(k * 1000 / 9) for k in range(27)]
    events = sorted([("v", s) for s in visible] + [("t", s) for s in thermal], key=lambda e: e[1])
    made = play(pairing, events)
    assert [v for v, _ in made] == visible[1:]
    for v, t in made:
        assert t == max(s for s in thermal if s <= v)
    check_accounts(pairing)


def test_hold_leaves_a_visible_frame_alone_when_the_thermal_one_is_too_old():
    pairing = make_pairing("hold", max_thermal_age_s=0.1)
    assert play(pairing, [("v", 900)]) == []
    assert play(pairing, [("t", 1000), ("v", 1100), ("v", 1101)]) == [(1100, 1000)]
    assert pairing.counts.unpaired_visible == 2
    pairing.max_thermal_age_s = 0.2
    assert play(pairing, [("v", 1150)]) == [(1150, 1000)]


def test_hold_reckons_the_age_with_the_offset():
    pairing = make_pairing("hold", max_thermal_age_s=0.1, thermal_offset_s=-0.05)
    (pair,) = pairing.add_thermal(1000 * MS, "t", 0) + pairing.add_visible(1040 * MS, "v", 0)
    assert pair.delta_ns == -90 * MS
    assert play(pairing, [("v", 1051)]) == []


def test_hold_takes_the_nearest_where_visible_frames_take_longer_on_their_way():
    pairing = make_pairing("hold")
    assert play(pairing, [("t", 1000), ("t", 1111), ("t", 1222), ("v", 1100), ("v", 1133)]) == [
        (1100, 1111), (1133, 1111)
    ]  # fmt: skip
    assert pairing.counts.unpaired_thermal == 1  # 1000
    check_accounts(pairing)


def test_hold_counts_thermal_frames_that_served_nobody():
    pairing = make_pairing("hold", queue_size=3)
    play(pairing, [("t", 1000 + k) for k in range(5)])
    assert (pairing.counts.overflowed_thermal, pairing.pending) == (2, (0, 3))
    assert play(pairing, [("v", 1010)]) == [(1010, 1004)]
    assert (pairing.counts.unpaired_thermal, pairing.pending) == (2, (0, 0))
    check_accounts(pairing)


def test_hold_goes_on_with_a_bag_that_loops():
    pairing = make_pairing("hold")
    events = [("t", 9000), ("v", 9001), ("v", 1000), ("t", 9100), ("t", 1010), ("v", 1033)]
    assert play(pairing, events) == [(9001, 9000), (1033, 1010)]
    assert pairing.counts.resets == 1
    check_accounts(pairing)


# ---- one camera alone


@pytest.mark.parametrize("policy", SYNC_POLICIES)
def test_a_camera_goes_on_alone_at_once_and_pairs_again_afterwards(policy):
    pairing = make_pairing(policy)
    play(pairing, [("v", 1000), ("t", 1000), ("v", 1033)])
    pairing.go_on_alone("visible")
    assert pairing.pending == (0, 0)
    assert play(pairing, [("v", 1066), ("t", 1066), ("v", 1100)]) == [(1066, None), (1100, None)]
    assert (pairing.counts.single_visible, pairing.counts.withheld_thermal) == (2, 1)
    pairing.go_on_alone("thermal")
    assert play(pairing, [("t", 1133), ("v", 1133)]) == [(None, 1133)]
    assert pairing.go_on_alone(None) == []
    made = play(pairing, [("t", 1166), ("v", 1166), ("t", 1200), ("v", 1200)])
    assert made == [(1166, 1166), (1200, 1200)]
    check_accounts(pairing)


def test_what_can_still_be_paired_goes_out_when_a_camera_is_left_alone():
    pairing = make_pairing("nearest")
    assert play(pairing, [("v", 1000), ("t", 1010)]) == []
    assert milliseconds(pairing.go_on_alone("visible")) == [(1000, 1010)]
    assert pairing.due_ns is None


def test_single_frames_are_withheld_and_counted_where_they_are_not_wanted():
    pairing = make_pairing("nearest")
    pairing.singles = False
    pairing.go_on_alone("visible")
    assert play(pairing, [("v", 1000), ("t", 1001), ("v", 1033)]) == []
    assert (pairing.counts.withheld_visible, pairing.counts.withheld_thermal) == (2, 1)
    check_accounts(pairing)


# ---- what must hold for every stream, however odd

odd_events = st.lists(
    st.tuples(
        st.sampled_from("vvvvttttpfrsa") | st.sampled_from(["jump", "age", "offset"]),
        st.integers(-60, 60),
        st.integers(0, 40),
    ),
    max_size=80,
)


def check_pair(pairing: Pairing, pair: Pair, policy: str) -> None:
    if pair.visible is None or pair.thermal is None:
        assert pair.delta_ns == 0
        assert (pair.visible is None) != (pair.thermal is None)
        return
    offset_ns = round(pairing.thermal_offset_s * 1e9)
    assert pair.delta_ns == pair.thermal_stamp_ns + offset_ns - pair.visible_stamp_ns
    limit_s = pairing.max_thermal_age_s if policy == "hold" else pairing.slop_s
    assert abs(pair.delta_ns) <= round(limit_s * 1e9)


@given(odd_events, st.sampled_from(sorted(SYNC_POLICIES)), st.integers(1, 6))
@settings(max_examples=120, deadline=None)
def test_any_stream_under_any_policy_is_accounted_for_and_goes_forward(events, policy, queue_size):
    pairing = make_pairing(policy, queue_size=queue_size, reset_after_s=0.2)
    scene, now, last = 2000, 0, -1
    for serial, (kind, value, step) in enumerate(events):
        scene, now = scene + step, now + step * MS
        resets = pairing.counts.resets
        pairs: list[Pair] = []
        if kind in ("v", "t"):
            add = pairing.add_visible if kind == "v" else pairing.add_thermal
            pairs = add((scene + value) * MS, serial, now)
        elif kind == "p":
            pairs = pairing.poll(now)
        elif kind == "f":
            pairs = pairing.flush()
        elif kind == "r":
            pairing.reset()
            last = -1
        elif kind == "s":
            pairing.singles = not pairing.singles
        elif kind == "a":
            pairs = pairing.go_on_alone(("visible", "thermal", None)[step % 3])
        elif kind == "jump":
            scene = max(0, scene + 30 * value)
        elif kind == "age":
            pairing.max_thermal_age_s = step / 1e3
        else:
            pairing.thermal_offset_s = value / 1e3
        jumped = pairing.counts.resets != resets
        for pair in pairs:
            check_pair(pairing, pair, policy)
            if pair.visible is not None:
                assert jumped or pair.visible_stamp_ns > last
                last = pair.visible_stamp_ns
        last = -1 if jumped else last
        assert max(pairing.pending) <= queue_size
        check_accounts(pairing)
    pairing.flush()
    assert pairing.pending == (0, 0)
    check_accounts(pairing)


def test_an_unknown_policy_is_refused_with_the_known_ones():
    with pytest.raises(SsvifError, match=r"'soonest'.*nearest.*exact.*hold"):
        make_pairing("soonest")


def test_a_bad_setting_is_refused_by_name_under_every_policy():
    for policy in SYNC_POLICIES:
        with pytest.raises(SsvifError, match="max_thermal_age_s is -1: set it to"):
            make_pairing(policy, max_thermal_age_s=-1)


@pytest.mark.parametrize("jitter_ns", [0, 1, 2_000, 1_000_000])
def test_exact_loses_no_pair_of_a_trigger_that_is_not_quite_regular(jitter_ns):
    rng = np.random.default_rng(0)
    pairing = make_pairing("exact", queue_size=15)
    made, stamp_ns = [], 10**9
    for n in range(1000):
        stamp_ns += 33_333_333 + int(rng.integers(-jitter_ns, jitter_ns + 1))
        order = (pairing.add_visible, pairing.add_thermal)[:: 1 if n % 3 else -1]
        for add in order:
            made += add(stamp_ns, n, stamp_ns)
        assert len(made) == n + 1  # at once
    assert all(pair.visible == pair.thermal for pair in made)
