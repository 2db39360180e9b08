"""How good and how fast the pairing is: synthetic camera pairs, against two references.

`ours` is `NearestPairing` as shipped. `greedy` fires on the first thing within slop, as
message_filters' ApproximateTimeSynchronizer does (written anew here). `best` is the best pairing of
the whole sequence, known only afterwards. Latency is added waiting: from the moment both frames of
a pair are there to the moment the pair is out (simulated time, not processing time).
`hold` is the policy that gives every visible frame the nearest thermal frame that is there: the
time between the two, as shipped and if each visible frame had waited first.

    python benchmarks/pairing.py        # table, and benchmarks/results/pairing.json
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from report import write_result

from ssvif_core.alignment import Alignment
from ssvif_core.hold_pairing import HoldPairing
from ssvif_core.pairing import NearestPairing

SECONDS = 40
SLOP_NS = 50_000_000
POLL_NS = 5_000_000
START_NS = 1_700_000_000_000_000_000
HOLD_WAITS_MS = (0, 10, 30)

Event = tuple[int, int, int]  # received, stream (0 visible, 1 thermal), stamp; all in ns
Made = tuple[int, int, int]  # visible stamp, thermal stamp, emitted; all in ns


@dataclass(frozen=True)
class Camera:
    rate_hz: float
    phase_ms: float = 0.0
    jitter_ms: float = 0.0  # of the stamps, standard deviation
    delay_ms: tuple[float, float] = (2.0, 6.0)  # of the transport, uniform; order is kept
    lost: float = 0.0

    def frames(self, rng: np.random.Generator) -> list[tuple[int, int]]:
        """(received, stamp) of each frame in ns."""
        ideal = np.arange(SECONDS * self.rate_hz) / self.rate_hz + self.phase_ms / 1e3
        stamps = np.sort(ideal + rng.normal(0, self.jitter_ms / 1e3, ideal.size))
        received = np.maximum.accumulate(stamps + rng.uniform(*self.delay_ms, ideal.size) / 1e3)
        kept = rng.random(ideal.size) >= self.lost
        as_ns = (np.stack([received, stamps], 1)[kept] * 1e9).astype(np.int64) + START_NS
        return [(int(r), int(s)) for r, s in as_ns]


SCENES: dict[str, tuple[Camera, Camera]] = {
    "30/9": (Camera(30), Camera(9, 7)),
    "30/9 jitter 5 ms": (Camera(30, jitter_ms=5), Camera(9, 7, jitter_ms=5)),
    "30/9 thermal 100 ms late": (Camera(30), Camera(9, 7, delay_ms=(60, 100))),
    "30/9 visible 100 ms late": (Camera(30, delay_ms=(60, 100)), Camera(9, 7)),
    "30/9 5 % lost": (Camera(30, lost=0.05), Camera(9, 7, lost=0.05)),
    "30/30 half a period apart": (Camera(30), Camera(30.003, 16.6)),
    "30/30 jitter 5 ms, thermal 0-60 ms late": (
        Camera(30, jitter_ms=5),
        Camera(30, 5, jitter_ms=5, delay_ms=(0, 60)),
    ),
    "30/30 jitter 5 ms, 5 % lost": (
        Camera(30, jitter_ms=5, lost=0.05),
        Camera(30, 5, jitter_ms=5, lost=0.05),
    ),
    "30/25": (Camera(30), Camera(25, 3)),
    "30/25 jitter 5 ms": (Camera(30, jitter_ms=5), Camera(25, 3, jitter_ms=5)),
    "60/30 jitter 2 ms": (Camera(60, jitter_ms=2), Camera(30, 3, jitter_ms=2)),
    "15/9": (Camera(15), Camera(9, 7)),
}


def ours(events: list[Event], **settings: float) -> tuple[list[Made], float]:
    """Pairs made, and mean processing time of a frame in microseconds."""
    pairing: NearestPairing[None, None] = NearestPairing(slop_s=SLOP_NS / 1e9, **settings)  # type: ignore[arg-type]
    made: list[Made] = []
    next_poll = events[0][0]
    spent = 0.0
    for received, stream, stamp in events:
        while next_poll <= received:  # the node's timer
            polled = pairing.poll(next_poll)
            made += [(p.visible_stamp_ns, p.thermal_stamp_ns, next_poll) for p in polled]
            next_poll += POLL_NS
        add = pairing.add_thermal if stream else pairing.add_visible
        start = time.perf_counter()
        pairs = add(stamp, None, received)
        spent += time.perf_counter() - start
        made += [(p.visible_stamp_ns, p.thermal_stamp_ns, received) for p in pairs]
    return made, spent / len(events) * 1e6


def greedy(events: list[Event], queue_size: int = 15) -> list[Made]:
    """Pair every arrival with the nearest frame that is there, at once."""
    queues: tuple[list[int], list[int]] = ([], [])
    made: list[Made] = []
    for received, stream, stamp in events:
        mine, others = queues[stream], queues[1 - stream]
        partner = min(others, key=lambda other: abs(other - stamp), default=None)  # noqa: B023
        if partner is not None and abs(partner - stamp) <= SLOP_NS:
            others.remove(partner)
            made.append((partner, stamp, received) if stream else (stamp, partner, received))
        else:
            mine.append(stamp)
            if len(mine) > queue_size:
                mine.remove(min(mine))
    return made


def best(events: list[Event]) -> list[Made]:
    """The best pairing of everything (no latency: it cannot be had live)."""
    visible, thermal = ([e[2] for e in events if e[1] == stream] for stream in (0, 1))
    return [(visible[i], thermal[j], 0) for i, j in Alignment(visible, thermal, SLOP_NS).pairs()]


def hold(events: list[Event], wait_ms: float) -> list[float]:
    """|dt| in ms of every output of policy hold, if each visible frame waited `wait_ms` first."""
    pairing: HoldPairing[None, None] = HoldPairing()
    waited = [(r + (0 if k else round(wait_ms * 1e6)), k, s) for r, k, s in events]
    apart: list[float] = []
    for received, stream, stamp in sorted(waited):
        add = pairing.add_thermal if stream else pairing.add_visible
        apart += [abs(pair.delta_ns) / 1e6 for pair in add(stamp, None, received)]
    return apart


def hold_summary(events: list[Event]) -> dict[str, float]:
    row: dict[str, float] = {"visible": sum(not e[1] for e in events)}
    row["pairs"] = len(hold(events, 0.0))
    for wait_ms in HOLD_WAITS_MS:
        row[f"mean_abs_dt_ms_waiting_{wait_ms}_ms"] = round(
            float(np.mean(hold(events, wait_ms))), 1
        )
    return row


def summary(made: list[Made], received: dict[tuple[int, int], int]) -> dict[str, float]:
    apart = np.array([abs(v - t) for v, t, _ in made]) / 1e6
    waits = np.array([out - max(received[0, v], received[1, t]) for v, t, out in made]) / 1e6
    return {
        "pairs": len(made),
        "mean_abs_dt_ms": round(float(apart.mean()), 3),
        "p99_abs_dt_ms": round(float(np.percentile(apart, 99)), 3),
        "added_latency_mean_ms": round(float(waits.mean()), 2),
        "added_latency_p99_ms": round(float(np.percentile(waits, 99)), 2),
    }


def measure(
    scene: tuple[Camera, Camera], run: Callable[[list[Event]], tuple[list[Made], float]] = ours
) -> dict[str, dict[str, float]]:
    rng = np.random.default_rng(0)
    events = sorted((r, k, s) for k, camera in enumerate(scene) for r, s in camera.frames(rng))
    received = {(k, s): r for r, k, s in events}
    made, frame_us = run(events)
    row = {"ours": summary(made, received), "greedy": summary(greedy(events), received)}
    row["best"] = {k: v for k, v in summary(best(events), received).items() if "latency" not in k}
    row["hold"] = hold_summary(events)
    row["ours"]["processing_us_per_frame"] = round(frame_us, 1)
    for name in ("ours", "greedy"):
        row[name]["gain_ratio_to_best"] = round(gain(row[name]) / gain(row["best"]), 4)
        ratio = row[name]["mean_abs_dt_ms"] / row["best"]["mean_abs_dt_ms"]
        row[name]["mean_abs_dt_ratio_to_best"] = round(ratio, 3)
    return row


def gain(row: dict[str, float]) -> float:
    return row["pairs"] * (SLOP_NS / 1e6 - row["mean_abs_dt_ms"])


def main() -> None:
    argparse.ArgumentParser(description=__doc__.split("\n")[0]).parse_args()
    results = {name: measure(scene) for name, scene in SCENES.items()}
    settings = {"slop_ms": SLOP_NS / 1e6, "poll_ms": POLL_NS / 1e6, "seconds": SECONDS}
    write_result("pairing", {"settings": settings, "scenes": results})
    print(f"{'':42}{'pairs':^17}  {'mean |dt| ms':^20}  {'added latency ms':^22}   us a  "
          "hold: mean |dt| ms")  # fmt: skip
    print(f"{'visible/thermal Hz':42}{'ours greedy best':17}  {'ours  greedy    best':20}  "
          f"{'mean   p99  greedy p99':22}  frame  waiting {HOLD_WAITS_MS} ms")  # fmt: skip
    for name, row in results.items():
        o, g, b = row["ours"], row["greedy"], row["best"]
        print(
            f"{name:42}{o['pairs']:4} {g['pairs']:6} {b['pairs']:4}  "
            f"{o['mean_abs_dt_ms']:6.2f} {g['mean_abs_dt_ms']:6.2f}  {b['mean_abs_dt_ms']:6.2f}  "
            f"{o['added_latency_mean_ms']:6.1f} {o['added_latency_p99_ms']:5.1f}  "
            f"{g['added_latency_p99_ms']:10.1f}  {o['processing_us_per_frame']:6.0f}  "
            + " ".join(
                f"{row['hold'][f'mean_abs_dt_ms_waiting_{w}_ms']:6.1f}" for w in HOLD_WAITS_MS
            )
        )


if __name__ == "__main__":
    main()
