"""Which part of a recording is trained on, and which one judges."""

from __future__ import annotations

from dataclasses import dataclass

from ssvif_core.errors import SsvifError

__all__ = ["LEAST_PAIRS", "Split", "split"]

#: Fewer pairs than this, in either part, say nothing.
LEAST_PAIRS = 8
#: What lies between the parts: frames there look like the last ones that were trained on.
GAP, LONGEST_GAP_S = 0.05, 10.0


@dataclass(frozen=True)
class Split:
    """The parts of a whole of length `total`, in its `unit` ("s" or "pairs").

    Attributes:
        training_end: the first part is from 0 to here.
        held_out_start: the last part is from here to `total`. The gap between belongs to none.
    """

    total: float
    training_end: float
    held_out_start: float
    unit: str

    def __str__(self) -> str:
        return (
            f"trained on the first {self.training_end:.4g} of {self.total:.4g} {self.unit}, judged "
            f"on the last {self.total - self.held_out_start:.4g}"
        )


def split(total: float, holdout: float, unit: str) -> Split:
    """Split at `1 - holdout`, with a gap of a twentieth (at most 10 s) before the held-out part.

    Args:
        total: seconds of a recording, or number of pairs of a folder.
        holdout: part of it that judges, in (0, 1).
        unit: "s" or "pairs".

    Raises:
        SsvifError: nothing would be left to train on.
    """
    if not 0 < holdout < 1 - GAP:
        raise SsvifError(f"--holdout is {holdout:g}: give a part between 0 and {1 - GAP:g}.")
    gap = GAP * total
    start = (1 - holdout) * total
    if unit == "s":
        gap = min(gap, LONGEST_GAP_S)
    else:
        start, gap = float(round(start)), float(max(1, round(gap)))
    return Split(total, max(0.0, start - gap), start, unit)
