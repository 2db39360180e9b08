"""NearestPairing and the alignment below it: by hand, by property, and against brute force."""

from __future__ import annotations

import itertools
import random
from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssvif_core.alignment import Alignment
from ssvif_core.errors import SsvifError
from ssvif_core.pairing import ExactPairing, NearestPairing, Pair

MS = 1_000_000
FOREVER_S = 1e6


def milliseconds(pairs: list[Pair]) -> list[tuple[float, float]]:
    return [(p.visible_stamp_ns / MS, p.thermal_stamp_ns / MS) for p in pairs]


def play(pairing: NearestPairing, events: list[tuple[str, int]]) -> list[tuple[float, float]]:
    """Feed ('v' or 't', stamp in ms) in order, received at their stamps; the pairs in ms."""
    made = []
    for kind, stamp in events:
        add = pairing.add_visible if kind == "v" else pairing.add_thermal
        made += add(stamp * MS, kind, stamp * MS)
    return milliseconds(made)


def check_accounts(pairing: NearestPairing) -> None:
    counts = asdict(pairing.counts)
    for name, pending in zip(("visible", "thermal"), pairing.pending, strict=True):
        ends = ("unpaired", "overflowed", "late", "duplicate", "unstamped", "stale")
        ends += ("single", "withheld")
        accounted = counts["paired"] + sum(counts[f"{end}_{name}"] for end in ends) + pending
        assert counts[f"received_{name}"] == accounted


def brute_force_gain(visible: list[int], thermal: list[int], slop: int) -> int:
    """Best total of slop + 1 - |dt| over all one-to-one pairings, crossed ones too."""
    small, large = sorted((visible, thermal), key=len)
    best = 0
    slots = [*range(len(large)), *[None] * len(small)]
    for choice in set(itertools.permutations(slots, len(small))):
        apart = [abs(s - large[c]) for s, c in zip(small, choice, strict=True) if c is not None]
        if all(a <= slop for a in apart):
            best = max(best, sum(slop + 1 - a for a in apart))
    return best


def gain(pairs: list[Pair], slop: int) -> int:
    return sum(slop + 1 - abs(p.delta_ns) for p in pairs)


stamps = st.lists(st.integers(1, 60), unique=True, max_size=4).map(sorted)
long_stamps = st.lists(st.integers(1, 400), unique=True, max_size=25).map(sorted)


@st.composite
def interleavings(draw: st.DrawFn, stream=stamps) -> list[tuple[str, int]]:
    """Two streams, each in order, mixed as transports may mix them."""
    visible, thermal = draw(stream), draw(stream)
    order = draw(st.permutations(["v"] * len(visible) + ["t"] * len(thermal)))
    queues = {"v": iter(visible), "t": iter(thermal)}
    return [(kind, next(queues[kind])) for kind in order]


# ---- the optimum


@given(stamps, stamps, st.integers(0, 40))
def test_alignment_is_the_best_of_all_pairings(visible, thermal, slop):
    alignment = Alignment(visible, thermal, slop)
    assert alignment.gain[-1][-1] == brute_force_gain(visible, thermal, slop)
    made = [slop + 1 - abs(visible[i] - thermal[j]) for i, j in alignment.pairs()]
    assert sum(made) == alignment.gain[-1][-1]


@given(interleavings(), st.integers(0, 40))
@settings(max_examples=300)
def test_without_anticipation_what_was_emitted_and_flushed_is_a_best_pairing(events, slop):
    pairing = NearestPairing(
        slop_s=slop / 1e9, max_wait_s=FOREVER_S, queue_size=100, anticipate=False
    )
    made = []
    for now, (kind, stamp) in enumerate(events):
        add = pairing.add_visible if kind == "v" else pairing.add_thermal
        made += add(stamp, None, now)
    made += pairing.flush()
    visible = [s for kind, s in events if kind == "v"]
    thermal = [s for kind, s in events if kind == "t"]
    assert gain(made, slop) == brute_force_gain(visible, thermal, slop)
    # So among the pairings with as many pairs, none has a smaller total |dt|.
    assert pairing.pending == (0, 0)


@given(interleavings(long_stamps), st.integers(0, 60))
def test_on_long_streams_the_proven_decisions_lose_nothing_against_the_whole(events, slop):
    pairing = NearestPairing(
        slop_s=slop / 1e9, max_wait_s=FOREVER_S, queue_size=100, anticipate=False
    )
    made = []
    for now, (kind, stamp) in enumerate(events):
        made += (pairing.add_visible if kind == "v" else pairing.add_thermal)(stamp, None, now)
    made += pairing.flush()
    streams = [[s for kind, s in events if kind == k] for k in "vt"]
    assert gain(made, slop) == Alignment(*streams, slop).gain[-1][-1]


def test_a_lost_frame_on_each_side_does_not_shift_the_pairs_between_them():
    # v 0 33 _ 100 133, t 5 38 71 105 _ : natural |dt| 5+5+5 and 3 pairs;
    # shifting gives 4 pairs, 5+5+29+28 = 67 > 15 + slop 50.
    alignment = Alignment([0, 33, 100, 133], [5, 38, 71, 105], 50)
    assert alignment.pairs() == [(0, 0), (1, 1), (2, 3)]


# ---- what must hold for every stream, however odd

odd_events = st.lists(
    st.tuples(
        st.sampled_from("vvvvttttpf") | st.sampled_from(["jump", "slop", "offset", "wait"]),
        st.integers(-60, 60),
        st.integers(0, 40),
    ),
    max_size=80,
)


@given(odd_events, st.booleans(), st.integers(1, 6))
@settings(max_examples=400)
def test_any_stream_is_paired_once_within_slop_forward_and_accounted_for(
    events, anticipate, queue_size
):
    pairing = NearestPairing(queue_size=queue_size, reset_after_s=0.2, anticipate=anticipate)
    scene, now, resets = 2000, 0, 0
    seen: set[int] = set()
    last = (-1, -1)
    for serial, (kind, value, step) in enumerate(events):
        scene, now = scene + step, now + step * MS
        pairs = []
        if kind in ("v", "t"):
            add = pairing.add_visible if kind == "v" else pairing.add_thermal
            pairs = add((scene + value) * MS, serial, now)
        elif kind == "p":
            pairs = pairing.poll(now)
        elif kind == "f":
            pairs = pairing.flush()
        elif kind == "jump":
            scene = max(0, scene + 30 * value)
        elif kind == "slop":
            pairing.slop_s = step / 1e3
        elif kind == "offset":
            pairing.thermal_offset_s = value / 1e3
        else:
            pairing.max_wait_s = step / 1e3
        restarted = pairing.counts.resets != resets
        resets = pairing.counts.resets
        for pair in pairs:
            assert pair.visible not in seen and pair.thermal not in seen
            seen |= {pair.visible, pair.thermal}
            offset_ns = round(pairing.thermal_offset_s * 1e9)
            assert pair.delta_ns == pair.thermal_stamp_ns + offset_ns - pair.visible_stamp_ns
            assert abs(pair.delta_ns) <= round(pairing.slop_s * 1e9)
            # The call that restarts may first emit pairs whose wait ended before it: still forward.
            assert pair.visible_stamp_ns > last[0] and pair.thermal_stamp_ns > last[1]
            last = (pair.visible_stamp_ns, pair.thermal_stamp_ns)
        if restarted:
            last = (-1, -1)
        assert max(pairing.pending) <= queue_size
        check_accounts(pairing)
    pairing.flush()
    assert pairing.pending == (0, 0)
    check_accounts(pairing)


@given(interleavings(long_stamps), st.integers(1, 30))
def test_no_frame_that_had_a_partner_waits_longer_than_max_wait(events, wait):
    pairing = NearestPairing(slop_s=20 / 1e3, max_wait_s=wait / 1e3, queue_size=100)
    now = 0
    for now, (kind, stamp) in enumerate(events):
        (pairing.add_visible if kind == "v" else pairing.add_thermal)(stamp * MS, None, now * MS)
        due_ns = pairing.due_ns
        assert due_ns is None or now * MS < due_ns <= (now + wait) * MS
    due_ns = pairing.due_ns
    if due_ns is not None:
        assert pairing.poll(due_ns - 1) == []
        assert pairing.poll(due_ns) != []


@given(interleavings(long_stamps), st.lists(st.integers(0, 40), max_size=20))
def test_polling_seldom_or_often_makes_the_same_pairs(events, polls):
    def run(polled: list[int]) -> list[tuple[float, float]]:
        pairing = NearestPairing(slop_s=20 / 1e3, max_wait_s=5 / 1e3)
        made = []
        for now, (kind, stamp) in enumerate(events):
            add = pairing.add_visible if kind == "v" else pairing.add_thermal
            made += add(stamp * MS, None, now * 2 * MS)
            if now in polled:
                made += pairing.poll(now * 2 * MS + MS)
        return milliseconds(made + pairing.poll(10**15))

    assert run(polls) == run([])


# ---- latency: emitted at once, or waited for


def warmed_up(**kwargs: float) -> NearestPairing:
    """30 Hz visible (33 ms) up to 990, 9 Hz thermal (111 ms) up to 893; stamps received at once."""
    pairing: NearestPairing = NearestPairing(**kwargs)
    events = [("v", 33 * k) for k in range(1, 31)] + [("t", 5 + 111 * k) for k in range(9)]
    play(pairing, sorted(events, key=lambda e: e[1]))
    return pairing


def test_a_match_that_the_next_frame_cannot_better_is_emitted_at_once():
    pairing = warmed_up()
    # visible 990 is 14 before thermal 1004; the next visible, 1023, will be 19 after it.
    assert play(pairing, [("t", 1004)]) == [(990, 1004)]


def test_a_match_that_the_next_frame_will_better_waits_for_it():
    pairing = warmed_up()
    # 990 is 20 before 1010; 1023 will be 13 after it.
    assert play(pairing, [("t", 1010)]) == []
    assert play(pairing, [("v", 1023)]) == [(1023, 1010)]


def test_a_better_frame_that_never_comes_is_waited_for_no_longer_than_max_wait():
    pairing = warmed_up(max_wait_s=0.025)
    assert play(pairing, [("t", 1010)]) == []
    assert pairing.due_ns == 1035 * MS
    assert pairing.poll(1034 * MS) == []
    assert milliseconds(pairing.poll(1035 * MS)) == [(990, 1010)]


def test_when_the_expected_frame_is_lost_the_next_one_decides():
    pairing = warmed_up()
    assert play(pairing, [("t", 1010)]) == []
    # 1023 is lost; 1056 is 46 after 1010, so 990 (20 before it) is the best there will be.
    assert play(pairing, [("v", 1056)]) == [(990, 1010)]


def test_both_neighbours_known_decide_at_once_without_any_history():
    pairing: NearestPairing = NearestPairing()
    # 133 is 12 from 121, 100 is 21 from it; no later visible frame can be nearer than 133.
    assert play(pairing, [("v", 100), ("v", 133), ("t", 121)]) == []  # a next thermal at 122?
    assert play(pairing, [("t", 232)]) == [(133, 121)]  # no


def test_every_thermal_frame_gets_its_nearest_visible_frame_when_a_topic_is_100_ms_late():
    for late in ("v", "t"):
        pairing: NearestPairing = NearestPairing()
        visible = [1000 + round(k * 1000 / 30) for k in range(90)]
        thermal = [1007 + round(k * 1000 / 9) for k in range(26)]
        events = [("v", s) for s in visible] + [("t", s) for s in thermal]
        received = sorted((s + (100 if k == late else 0), k, s) for k, s in events)
        made = []
        for now, kind, stamp in received:
            add = pairing.add_visible if kind == "v" else pairing.add_thermal
            made += add(stamp * MS, None, now * MS)
        made += pairing.flush()
        assert len(made) == 26
        for pair in made:
            nearest = min(abs(v * MS - pair.thermal_stamp_ns) for v in visible)
            assert abs(pair.delta_ns) == nearest


@given(st.lists(st.tuples(st.integers(20, 400), st.booleans()), min_size=3, max_size=30))
@settings(max_examples=300)
def test_frames_of_one_trigger_without_a_rhythm_all_find_each_other(steps):
    """A trigger that fires when it likes, sooner than was to be expected of it too."""
    pairing: NearestPairing = NearestPairing()
    made, stamp = [], 1000
    for apart, visible_first in steps:
        stamp += apart
        for late, kind in enumerate("vt" if visible_first else "tv"):
            add = pairing.add_visible if kind == "v" else pairing.add_thermal
            made += add(stamp * MS, None, (stamp + late) * MS)
            made += pairing.poll((stamp + late) * MS + MS // 2)
    made += pairing.flush()
    assert len(made) == len(steps)
    assert all(pair.delta_ns == 0 for pair in made)


def test_a_visible_frame_that_came_sooner_than_the_trigger_was_wont_waits_for_its_partner():
    pairing: NearestPairing = NearestPairing()
    play(pairing, [(k, s) for s in (1000, 1085, 1170, 1255) for k in "vt"])
    assert play(pairing, [("v", 1285)]) == []  # more than slop before 1340, the next to be expected
    assert pairing.counts.unpaired_visible == 0
    assert play(pairing, [("t", 1285)]) == [(1285, 1285)]


# ---- offsets, odd stamps, clocks that step


def test_the_thermal_offset_is_added_before_comparing_and_may_change_live():
    pairing: NearestPairing = NearestPairing(slop_s=0.01, thermal_offset_s=-0.5)
    assert play(pairing, [("v", 1000), ("t", 1503)]) == []
    (pair,) = pairing.flush()
    assert pair.delta_ns == 3 * MS  # 1503 - 500 - 1000
    pairing.thermal_offset_s = 0.02
    play(pairing, [("v", 2000), ("t", 1979)])
    assert [p.delta_ns for p in pairing.flush()] == [-1 * MS]  # 1979 + 20 - 2000


def odd_pair_of_cameras(triggered: bool) -> list[tuple[int, str, int]]:
    """(received, kind, stamp) of 30 + 8 Hz: jitter, losses, thermal 250 ms later, the bag loops."""
    chance, events = random.Random(0), []
    for start in (0, 4000, 8000):
        stamps = [10_000 + 33 * k + chance.randint(-6, 6) for k in range(120)]
        kept = [s for s in stamps if chance.random() > 0.1]
        events += [(start + s + chance.randint(0, 20), "v", s) for s in kept]
        late = [s + (0 if triggered else chance.randint(-15, 15)) for s in stamps[2::4]]
        late = [s for s in late if chance.random() > 0.1]
        events += [(start + s + 250, "t", s) for s in late]
    return sorted(events)


@pytest.mark.parametrize("shift_ms", [-5000, -50, 50, 5000])
@pytest.mark.parametrize(
    ("make", "triggered"),
    [
        (NearestPairing, False),
        (lambda **settings: NearestPairing(anticipate=False, **settings), False),
        (ExactPairing, True),
    ],
    ids=["nearest", "without anticipation", "exact"],
)
def test_an_offset_that_undoes_a_shift_of_the_stamps_changes_no_decision(make, triggered, shift_ms):
    def run(shift_ms: int) -> tuple[list[tuple[int, float, float, int]], dict[str, int]]:
        pairing = make(thermal_offset_s=-shift_ms / 1e3)
        made = []
        for now, kind, stamp in odd_pair_of_cameras(triggered):
            moved = (stamp + (shift_ms if kind == "t" else 0)) * MS
            add = pairing.add_visible if kind == "v" else pairing.add_thermal
            for pair in [*pairing.poll(now * MS - MS), *add(moved, None, now * MS)]:
                seen = pair.visible_stamp_ns, pair.thermal_stamp_ns - shift_ms * MS
                made.append((now, *seen, pair.delta_ns))
        return made, asdict(pairing.counts)

    plain = run(0)
    assert plain[1]["resets"] == 2
    assert len(plain[0]) > 60
    assert run(shift_ms) == plain


def test_duplicates_late_and_unstamped_frames_are_counted_and_dropped():
    pairing: NearestPairing = NearestPairing()
    play(pairing, [("v", 1000), ("v", 1000), ("v", 990), ("v", 0), ("t", 0), ("t", 1001)])
    assert milliseconds(pairing.flush()) == [(1000, 1001)]
    counts = pairing.counts
    assert (counts.duplicate_visible, counts.late_visible) == (1, 1)
    assert (counts.unstamped_visible, counts.unstamped_thermal, counts.resets) == (1, 1, 0)


def looping_bag(loops: int, lag_ms: int) -> list[tuple[int, str, int]]:
    """(received, kind, stamp): a 2 s bag of 30 + 9 Hz, thermal received later by `lag_ms`."""
    events = []
    for loop in range(loops):
        start = loop * 2000
        events += [(start + s, "v", 5000 + s) for s in range(0, 2000, 33)]
        events += [(start + s + lag_ms, "t", 5000 + s) for s in range(5, 2000, 111)]
    return sorted(events)


@pytest.mark.parametrize("lag_ms", [0, 3, 100])
@pytest.mark.parametrize("swapped", [False, True])
def test_a_looping_bag_restarts_once_a_loop_and_loses_next_to_nothing(lag_ms, swapped):
    pairing: NearestPairing = NearestPairing()
    made = 0
    for now, kind, stamp in looping_bag(4, lag_ms):
        add = pairing.add_visible if (kind == "v") != swapped else pairing.add_thermal
        made += len(add(stamp * MS, None, now * MS))
    made += len(pairing.flush())
    assert pairing.counts.resets == 3
    # 18 thermal frames a loop; at a jump only those in flight from before it are lost: 1 or 2.
    assert made >= 4 * 18 - 3 * 2
    check_accounts(pairing)


def test_frames_from_before_the_jump_neither_stay_nor_reset_again():
    pairing: NearestPairing = NearestPairing()
    play(pairing, [("v", 9000), ("t", 9001)])
    pairing.flush()
    play(pairing, [("v", 1000), ("t", 9100), ("t", 9200)])  # the visible topic loops first
    assert (pairing.counts.resets, pairing.counts.stale_thermal) == (1, 2)
    assert play(pairing, [("t", 1002), ("v", 1033)]) == [(1000, 1002)]
    assert pairing.counts.resets == 1


@pytest.mark.parametrize("stamp", [33_300, 5_000])
def test_an_odd_stamp_of_a_camera_that_then_dies_does_not_silence_the_other(stamp):
    """A driver that restarts with a wrong clock and sends one frame."""
    pairing: NearestPairing = NearestPairing()
    play(pairing, [(k, s) for s in range(33_000, 34_000, 33) for k in "vt"])
    play(pairing, [("t", stamp)])
    pairing.go_on_alone("visible")
    alone = sum(len(pairing.add_visible(s * MS, None, s * MS)) for s in range(34_000, 35_000, 33))
    assert alone == 31
    play(pairing, [("t", stamp - 4000)])  # another one, of a core that boots
    alone = sum(len(pairing.add_visible(s * MS, None, s * MS)) for s in range(35_000, 36_000, 33))
    assert alone == 31
    check_accounts(pairing)


def test_a_jump_that_only_one_camera_makes_is_not_waited_for_for_ever():
    pairing: NearestPairing = NearestPairing()
    play(pairing, both_from(10_000, 11_000))
    play(pairing, [(k, s - (700 if k == "t" else 0)) for k, s in both_from(11_000, 15_000)])
    assert pairing.counts.resets == 1
    stale = pairing.counts.stale_visible
    assert 0 < stale < 35  # a second of frames; from then on they are compared again
    play(pairing, both_from(15_000, 16_000))
    assert (pairing.counts.stale_visible, pairing.counts.resets) == (stale, 1)
    check_accounts(pairing)


def test_one_camera_whose_clock_is_set_back_to_the_others_pairs_on_at_once():
    pairing: NearestPairing = NearestPairing()
    play(pairing, [("v", 1000), ("t", 90_000), ("t", 90_100)])
    play(pairing, [("v", 1100), ("t", 1101), ("v", 1133)])  # thermal was set right
    assert pairing.counts.resets == 1
    play(pairing, [("t", 1134)])
    assert milliseconds(pairing.flush()) == [(1133, 1134)]
    assert pairing.counts.unpaired_visible == 2  # 1000 and 1100: thermal was far ahead of them


@pytest.mark.parametrize("anticipate", [False, True])
def test_a_jump_forward_of_one_stream_or_both_does_not_wedge(anticipate):
    pairing: NearestPairing = NearestPairing(anticipate=anticipate)
    both = [(k, s) for s in range(1000, 2000, 33) for k in "vt"]
    play(pairing, both)
    play(pairing, [(k, s + (100_000 if k == "v" else 0)) for k, s in both_from(2000, 3000)])
    paired = pairing.counts.paired
    play(pairing, both_from(104_000, 105_000))  # thermal has followed
    assert pairing.counts.paired - paired >= 29
    assert pairing.counts.resets == 0
    check_accounts(pairing)


def both_from(start: int, end: int) -> list[tuple[str, int]]:
    return [(k, s) for s in range(start, end, 33) for k in "vt"]


def test_one_wild_stamp_costs_a_few_frames_only():
    pairing: NearestPairing = NearestPairing()
    play(pairing, both_from(1000, 2000))
    play(pairing, [("v", 10_000_000)])
    paired = pairing.counts.paired
    play(pairing, both_from(2033, 3000))
    assert pairing.counts.paired - paired >= 25
    assert pairing.counts.resets == 1


def test_a_silent_thermal_camera_costs_a_bounded_queue_and_is_counted():
    pairing: NearestPairing = NearestPairing(queue_size=5)
    play(pairing, [("v", 1000 + 33 * k) for k in range(20)])
    assert pairing.pending == (5, 0)
    assert pairing.counts.overflowed_visible == 15


def test_a_full_queue_emits_the_pair_that_it_holds_rather_than_losing_it():
    pairing: NearestPairing = NearestPairing(
        queue_size=2, slop_s=1, max_wait_s=FOREVER_S, anticipate=False
    )
    assert play(pairing, [("t", 1000), ("v", 900), ("v", 905)]) == []
    # At the third the oldest, 900, goes; the best of the rest may still get better.
    play(pairing, [("v", 910)])
    assert pairing.counts.overflowed_visible + pairing.counts.unpaired_visible == 1
    assert milliseconds(pairing.flush()) == [(910, 1000)]


def test_receive_time_that_goes_back_does_not_prolong_a_wait():
    pairing: NearestPairing = NearestPairing(max_wait_s=0.1)
    pairing.add_visible(5000 * MS, None, 90_000 * MS)
    pairing.add_thermal(5001 * MS, None, 90_000 * MS)
    assert pairing.poll(1000 * MS) == []
    assert milliseconds(pairing.poll(1100 * MS)) == [(5000, 5001)]


def test_reset_forgets_both_streams_and_keeps_the_counts():
    pairing: NearestPairing = NearestPairing()
    play(pairing, [("v", 9000), ("t", 9001)])
    pairing.reset()
    assert pairing.pending == (0, 0)
    assert (pairing.counts.stale_visible, pairing.counts.stale_thermal) == (1, 1)
    play(pairing, [("v", 1000), ("t", 1001)])
    assert milliseconds(pairing.flush()) == [(1000, 1001)]
    assert pairing.counts.resets == 0


@pytest.mark.parametrize(
    "setting",
    [
        {"slop_s": -0.1},
        {"max_wait_s": float("nan")},
        {"thermal_offset_s": float("inf")},
        {"queue_size": 0},
        {"reset_after_s": -1},
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(setting):
    with pytest.raises(SsvifError, match=f"{next(iter(setting))} is .*: set it to"):
        NearestPairing(**setting)
