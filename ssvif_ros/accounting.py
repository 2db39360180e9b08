"""Where every frame went, from configure on, over all activations.

For each camera:  received = invalid + paired + single + unpaired + overflowed + late + duplicate
                             + unstamped + stale + withheld + pending
                  (thermal: less reused, for a frame that is held is in several pairs)
What goes on:     paired + single = fused + bad_frames + dropped_by_worker + in_work

Pairing and worker live as long as the node is active and count from zero; what they counted is
kept here when they end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict

from ssvif_ros.inputs import Inputs
from ssvif_ros.worker import LatestWorker

__all__ = ["FrameAccounts", "unaccounted"]

#: Where a received frame can be, besides in a pair.
FATES = (
    "invalid", "single", "unpaired", "overflowed", "late", "duplicate", "unstamped", "stale",
    "withheld", "pending",
)  # fmt: skip


class FrameAccounts:
    """Adds up what pairing and worker count."""

    def __init__(self) -> None:
        self._past: Counter[str] = Counter()

    def close(self, inputs: Inputs, worker: LatestWorker) -> None:
        """Keep the counts of an activation whose inputs and worker have stopped."""
        self._past.update(_counted(inputs, worker))

    def values(self, inputs: Inputs | None, worker: LatestWorker | None) -> dict[str, int]:
        """All counts, by the keys that appear in /diagnostics."""
        total = self._past.copy()
        if inputs is not None and worker is not None:
            total.update(_counted(inputs, worker))
        return dict(total)


def _counted(inputs: Inputs, worker: LatestWorker) -> dict[str, int]:
    counts = asdict(inputs.synchronizer.counts)
    for camera, valid in inputs.valid.items():
        counts[f"received_{camera}"] += valid.invalid
        counts[f"invalid_{camera}"] = valid.invalid
    pending = inputs.synchronizer.pending
    counts |= {"pending_visible": pending[0], "pending_thermal": pending[1]}
    return counts | {"dropped_by_worker": worker.dropped, "in_work": worker.in_work}


def unaccounted(values: Mapping[str, object]) -> dict[str, int]:
    """What the values of /diagnostics leave open: 0 everywhere, or a frame was lost unseen.

    Exact when nothing is under way; the counts are not all read in the same instant.
    """
    v = Counter({k: int(str(value)) for k, value in values.items() if str(value).isdigit()})
    missing = {
        camera: v[f"received_{camera}"] - v["paired"] - sum(v[f"{fate}_{camera}"] for fate in FATES)
        for camera in ("visible", "thermal")
    }
    missing["thermal"] += v["reused_thermal"]
    gone_on = v["paired"] + v["single_visible"] + v["single_thermal"]
    done = v["fused"] + v["bad_frames"] + v["dropped_by_worker"] + v["in_work"]
    return {**missing, "pairs": gone_on - done}
