"""Is the new model better on frames that it has not seen? One plain answer, which may be no."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ssvif_core.adapt.judge import FIGURES, TOO_FEW, Judged
from ssvif_core.replay.compare import LEAST_PAIRS

__all__ = ["NEEDED", "Verdict", "decide"]

Answer = Literal[
    "better", "no measurable difference", "not better", "worse", "too few pairs to tell"
]
#: So many figures of quality must have got better. One of four may do so by chance, or by trading.
NEEDED = 2


@dataclass(frozen=True)
class Verdict:
    """The answer.

    Attributes:
        answer: better: two figures of quality or more rose, none fell, no guard is broken;
            no measurable difference: nothing changed enough to matter; not better: some figures
            rose, too few or at the price of others; worse: a guard is broken, or more figures fell
            than rose; too few pairs to tell: no figure of quality has an interval.
        why: by which figures, one sentence.
    """

    answer: Answer
    why: str

    @property
    def use(self) -> bool:
        """Whether the new model should run on the robot."""
        return self.answer == "better"


def decide(judged: Sequence[Judged]) -> Verdict:
    """Weigh the figures, see `Verdict`."""
    quality = [j for j in judged if not FIGURES[j.name].guard]
    broken = [j for j in judged if FIGURES[j.name].guard and j.change == "worse"]
    better = [j for j in quality if j.change == "better"]
    worse = [j for j in quality if j.change == "worse"]
    if broken or len(worse) > len(better):
        reasons = [f"worse in {_listed(broken + worse)}"]
        if better:
            reasons.append(f"better in {_listed(better)}")
        return Verdict("worse", "; ".join(reasons))
    if quality and all(j.change == TOO_FEW for j in quality):
        most = max(j.frames for j in quality)
        why = (
            f"quality was measured on {most} held-out pairs, an interval needs {LEAST_PAIRS}: take "
            "a longer recording or a larger --holdout"
        )
        return Verdict("too few pairs to tell", why)
    if len(better) >= NEEDED and not worse:
        return Verdict("better", f"better in {_listed(better)}; no guard is worse")
    if better or worse:
        reasons = [f"better in {_listed(better)}"] if better else []
        reasons += [f"worse in {_listed(worse)}"] if worse else []
        why = "; ".join(reasons)
        return Verdict("not better", f"{why}; {NEEDED} better and none worse would be needed")
    names = ", ".join(j.name for j in judged)
    return Verdict("no measurable difference", f"nothing changed enough to matter in {names}")


def _listed(judged: Sequence[Judged]) -> str:
    return ", ".join(
        f"{j.name} ({j.old:.3f} to {j.new:.3f}, 95 % of {j.low:+.3f} to {j.high:+.3f})"
        for j in judged
    )
