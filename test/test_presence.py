"""Presence: which camera lives, from times of receipt and pictures."""

from __future__ import annotations

import itertools
from array import array

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssvif_core.presence import Presence, fingerprint

MS = 1_000_000
LOOK_MS = 10
STILL = "visible and thermal"


class Watch:
    """Drives a Presence through time in looks of 10 ms, with cameras at their own periods."""

    def __init__(self, **settings: float) -> None:
        self.presence = Presence(**settings)
        self.now_ms = 1_000_000
        self.modes = [self.presence.mode]
        self._serial = itertools.count()

    def run(self, duration_ms: int, still: str = "", step_ms: int = LOOK_MS, **periods_ms: int):
        """Let cameras send with these periods; the `still` one repeats one picture."""
        for _ in range(0, duration_ms, LOOK_MS):
            self.now_ms += step_ms
            for camera, period_ms in periods_ms.items():
                if self.now_ms // LOOK_MS % (period_ms // LOOK_MS) == 0:
                    picture = b"still" if camera in still else str(next(self._serial)).encode()
                    self.frame(camera, picture)
            self.presence.check(self.now_ms * MS)
            self._note()
        return self

    def frame(self, camera: str, picture: bytes | None = None, age_ms: int = 5) -> None:
        now_ns = self.now_ms * MS
        self.presence.seen(camera, now_ns - age_ms * MS, now_ns, picture)
        self._note()

    def _note(self) -> None:
        if self.presence.mode != self.modes[-1]:
            self.modes.append(self.presence.mode)

    @property
    def states(self) -> tuple[str, str]:
        cameras = self.presence.report().cameras
        return cameras["visible"].state, cameras["thermal"].state


def both_running(**settings: float) -> Watch:
    watch = Watch(**settings).run(2000, visible=30, thermal=110)
    assert (watch.modes, watch.states) == (["none", "both"], ("ok", "ok"))
    return watch


@pytest.mark.parametrize(("lost", "alive"), [("thermal", "visible"), ("visible", "thermal")])
def test_a_silent_camera_is_missing_after_the_time_and_not_before(lost, alive):
    period = {"visible": 30, "thermal": 110}[alive]
    watch = both_running(missing_after_s=0.5)
    watch.run(480, **{alive: period})
    assert watch.presence.mode == "both"
    assert watch.presence.report().cameras[lost].state in ("ok", "late")
    watch.run(140, **{alive: period})  # the lost one's last frame was up to 110 ms before
    assert watch.presence.mode == watch.presence.alone == alive
    assert watch.presence.report().cameras[lost].state == "missing"


def test_two_still_pictures_stay_a_pair_after_a_pause_that_only_one_camera_made():
    watch = Watch(missing_after_s=0.5, frozen_after_s=1.0).run(2000, STILL, visible=30, thermal=30)
    watch.frame("visible", b"still")
    watch.now_ms += 10
    watch.frame("thermal", b"still")
    watch.run(490).now_ms += 5
    for camera in ("visible", "thermal"):  # silent for 505 and for 495 ms
        watch.frame(camera, b"still")
    watch.run(3000, STILL, visible=30, thermal=30)
    assert (watch.modes, watch.states) == (["none", "both"], ("frozen", "frozen"))


def test_it_is_back_with_its_third_frame_in_a_row():
    watch = both_running().run(1000, visible=30)
    assert watch.presence.mode == "visible"
    for _ in range(2):
        watch.run(110, visible=30)
        watch.frame("thermal")
        assert watch.presence.mode == "visible"
        assert watch.states == ("ok", "returning")
    watch.run(110, visible=30)
    watch.frame("thermal")
    assert (watch.presence.mode, watch.states) == ("both", ("ok", "ok"))


def test_a_camera_that_sends_now_and_then_does_not_make_the_output_flap():
    watch = both_running().run(10_000, visible=30, thermal=600)
    assert watch.modes == ["none", "both", "visible"]
    assert watch.presence.report().cameras["thermal"].interval_s == pytest.approx(0.6)


def test_time_is_counted_as_far_as_the_clock_runs_steadily():
    watch = Watch()
    watch.run(1000, visible=100)
    watch.now_ms += 3_600_000
    report = watch.run(1000, visible=100).presence.report()
    assert report.watched_s == pytest.approx(2.25, abs=0.05)
    assert report.cameras["thermal"].silent_s == report.watched_s  # it was never heard
    assert report.cameras["visible"].silent_s < 0.2


def test_a_camera_that_was_never_heard_is_missing_once_the_other_has_sent_for_long_enough():
    watch = Watch(missing_after_s=0.5).run(3000)
    assert (watch.presence.mode, watch.states) == ("none", ("never", "never"))
    watch.run(450, thermal=110)
    assert watch.presence.mode == "none"
    watch.run(300, thermal=110)
    assert (watch.presence.mode, watch.states) == ("thermal", ("never", "ok"))


def test_both_gone_and_back_pairs_at_once():
    watch = both_running().run(5000)
    assert (watch.presence.mode, watch.states) == ("none", ("missing", "missing"))
    watch.frame("visible")
    watch.frame("thermal")
    assert watch.modes == ["none", "both", "none", "both"]  # nobody was alone in between


def test_the_other_one_dies_while_one_is_missing_and_the_first_comes_back():
    watch = both_running().run(1000, visible=30).run(2000, thermal=110)
    assert watch.modes == ["none", "both", "visible", "both", "thermal"]


@given(st.lists(st.integers(-10_000, 10_000), min_size=1, max_size=5))
def test_a_clock_that_jumps_makes_no_camera_missing(jumps_s):
    watch = both_running()
    for jump_s in jumps_s:
        watch.now_ms = max(10, watch.now_ms + 1000 * jump_s)
        watch.run(500, visible=30, thermal=110)
    assert watch.modes == ["none", "both"]


def test_time_that_stands_still_makes_no_camera_missing():
    watch = both_running()
    for _ in range(1000):
        watch.presence.check(watch.now_ms * MS)
    assert watch.presence.mode == "both"


def test_simulated_time_that_is_stepped_at_10_hz_still_finds_a_camera_missing():
    watch = Watch()
    watch.run(300, step_ms=100, visible=100, thermal=100)
    assert watch.presence.mode == "both"
    watch.run(100, step_ms=100, visible=100)
    assert watch.presence.mode == "visible"


# ---- frozen


def test_a_camera_that_repeats_its_picture_while_the_other_moves_is_out_until_it_changes():
    watch = both_running(frozen_after_s=1.0)
    watch.run(900, still="thermal", visible=30, thermal=110)
    assert watch.presence.mode == "both"
    watch.run(400, still="thermal", visible=30, thermal=110)
    assert (watch.presence.mode, watch.states) == ("visible", ("ok", "frozen"))
    assert watch.presence.report().cameras["thermal"].repeated >= 9
    watch.frame("thermal", b"another")
    assert (watch.presence.mode, watch.states) == ("both", ("ok", "ok"))


def test_a_shutter_of_half_a_second_is_counted_and_changes_nothing():
    watch = both_running()
    for _ in range(5):
        watch.run(500, still="thermal", visible=30, thermal=110)
        watch.run(2000, visible=30, thermal=110)
    assert watch.modes == ["none", "both"]
    assert 15 <= watch.presence.report().cameras["thermal"].repeated <= 25


def test_two_still_images_are_fused_and_reported():
    watch = Watch().run(5000, still="visible thermal", visible=30, thermal=30)
    assert watch.modes == ["none", "both"]
    assert watch.states == ("frozen", "frozen")


def test_one_change_of_one_still_picture_does_not_make_the_other_one_frozen():
    watch = Watch().run(5000, STILL, visible=30, thermal=30)
    watch.frame("visible", b"another")
    watch.run(5000, STILL, visible=30, thermal=30)
    assert watch.modes == ["none", "both"]


def test_a_still_camera_that_is_started_later_is_fused_with_the_first():
    watch = Watch().run(5000, STILL, visible=30)
    watch.run(3000, STILL, visible=30, thermal=30)
    assert watch.modes == ["none", "visible", "both"]


def test_where_one_goes_on_changing_after_a_rest_the_other_is_frozen_after_the_time():
    watch = Watch(frozen_after_s=1.0).run(5000, STILL, visible=30, thermal=30)
    watch.run(900, still="thermal", visible=30, thermal=30)
    assert watch.presence.mode == "both"
    watch.run(300, still="thermal", visible=30, thermal=30)
    assert watch.presence.mode == "visible"


def test_a_silence_that_is_allowed_is_not_a_picture_that_stands_still():
    watch = both_running(missing_after_s=3.0, frozen_after_s=1.0)
    for _ in range(3):
        watch.run(1500, visible=30)
        assert watch.presence.mode == "both" and watch.states[1] != "frozen"
        watch.frame("thermal", str(watch.now_ms).encode())
    assert watch.modes == ["none", "both"]


def test_both_standing_still_after_one_did_leaves_the_first_out():
    watch = both_running().run(1500, still="thermal", visible=30, thermal=110)
    watch.run(3000, still="visible thermal", visible=30, thermal=110)
    assert watch.modes == ["none", "both", "visible"]


def test_a_frozen_camera_is_used_when_the_other_one_dies():
    watch = both_running().run(1500, still="thermal", visible=30, thermal=110)
    watch.run(2000, still="thermal", thermal=110)
    assert watch.presence.mode == "thermal"


def test_a_still_camera_that_was_away_is_taken_back():
    watch = both_running().run(2000, still="thermal", visible=30, thermal=110)
    watch.run(2000, visible=30)
    watch.run(500, still="thermal", visible=30, thermal=110)
    assert watch.presence.mode == "both"


def test_freezing_is_not_looked_for_where_it_is_switched_off():
    watch = both_running(frozen_after_s=0.0)
    watch.run(5000, still="thermal", visible=30, thermal=110)
    assert (watch.modes, watch.states) == (["none", "both"], ("ok", "ok"))


# ---- stale, starved


def test_stamps_far_from_now_are_reported_and_one_slow_frame_is_not():
    watch = both_running()
    watch.frame("thermal", age_ms=3000)
    assert watch.states == ("ok", "ok")
    for _ in range(20):
        watch.now_ms += 10
        watch.frame("thermal", age_ms=-2500)
    assert (watch.presence.mode, watch.states) == ("both", ("ok", "stale"))
    assert watch.presence.report().cameras["thermal"].age_s == pytest.approx(-2.5)


def test_frames_that_come_while_none_goes_out_are_noticed():
    watch = both_running().run(3000, visible=30, thermal=110)
    assert watch.presence.report().starved_s > 4
    watch.presence.went_out()
    assert watch.presence.report().starved_s == 0


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["visible", "thermal", "look"]),
            st.integers(-300, 900),
            st.sampled_from([b"a", b"b", None]),
        ),
        max_size=60,
    )
)
def test_whatever_comes_a_camera_that_is_alone_was_heard_and_two_that_are_fused_send(events):
    watch = Watch()
    for camera, step_ms, picture in events:
        watch.now_ms += step_ms
        if camera == "look":
            watch.presence.check(watch.now_ms * MS)
        else:
            watch.frame(camera, picture)
        mode = watch.presence.mode
        states = dict(zip(("visible", "thermal"), watch.states, strict=True))
        if mode == "both":
            assert not {"never", "missing", "returning"} & set(states.values())
        elif mode != "none":
            assert states[mode] in ("ok", "stale", "frozen")


# ---- fingerprint


@pytest.mark.parametrize("shape", [(480, 640, 3), (512, 640, 2), (1024, 1280, 3), (5, 7)])
def test_a_fingerprint_is_small_and_tells_noisy_frames_apart(shape):
    rng = np.random.default_rng(0)
    scene = rng.integers(0, 200, shape, dtype=np.uint8)
    data = [array("B", (scene + rng.integers(0, 3, shape, np.uint8)).tobytes()) for _ in range(2)]
    assert fingerprint(data[0]) != fingerprint(data[1])
    assert fingerprint(data[0]) == fingerprint(array("B", data[0]))
    assert len(fingerprint(data[0])) <= 2 * 8192


def test_a_fingerprint_sees_every_channel_and_both_bytes_of_raw_counts():
    for size in (480 * 640 * 3, 512 * 640 * 2, 1024 * 1280 * 3):
        plain = np.zeros(size, np.uint8)
        for channels in (2, 3):
            for channel in range(channels):
                changed = plain.copy()
                changed[channel::channels] = 1
                assert fingerprint(changed) != fingerprint(plain)


def test_the_fingerprint_of_nothing_is_nothing():
    assert fingerprint(array("B")) == b""
