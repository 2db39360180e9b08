"""The best order-preserving pairing of two short sorted lists of times, and what of it is settled.

Plain integers in, index pairs out. Knows nothing of frames, queues, clocks or waiting; `pairing.py`
decides with it.

**Objective.** A pair of times with |dt| <= slop gains `slop + 1 - |dt|`; the best pairing is the
one-to-one pairing of greatest total gain. In words: leaving a possible pair unmade costs as much as
a pair at the edge of slop, so of two pairings with as many pairs the one with the smaller total
|dt| wins, and one pair more is taken wherever it does not push the others apart by more than slop.
(Counting pairs first instead would let one lost frame on each side shift every pair between them by
a whole period; the smallest |dt| alone would make no pairs at all. The 1 lets a pair at exactly
slop count.) Crossed pairs never gain: uncrossing two pairs neither raises their total |dt| nor the
greater of the two, so it suffices to look at order-preserving pairings, and dynamic programming
over prefixes finds the best one (Needleman and Wunsch, J. Mol. Biol. 48, 1970).
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["Alignment", "Settled", "agreed", "proven"]

Pairs = list[tuple[int, int]]
Settled = tuple[Pairs, int, int]
"""Pairs that are decided, and how many frames of the first and of the second list are decided."""

_SKIP_FIRST, _SKIP_SECOND, _MATCH = 0, 1, 2


class Alignment:
    """Best pairings of every prefix of `first` with every prefix of `second`.

    Args:
        first: increasing times, integers.
        second: increasing times in the same unit and on the same clock.
        slop: greatest |dt| of a pair, >= 0.

    `gain[i][j]` is the gain of the best pairing of `first[:i]` with `second[:j]`.
    Time and memory are O(len(first) * len(second)).
    """

    def __init__(self, first: Sequence[int], second: Sequence[int], slop: int) -> None:
        self.first = first
        self.second = second
        self.slop = slop
        width = len(second) + 1
        previous = [0] * width
        self.gain = [previous]
        self._step = [[_SKIP_SECOND] * width]
        for a in first:
            row, steps = [0], [_SKIP_FIRST]
            for j, b in enumerate(second):
                # On a tie the frame is skipped: the earlier partner is kept, the later stays free.
                best, step = previous[j + 1], _SKIP_FIRST
                if row[j] > best:
                    best, step = row[j], _SKIP_SECOND
                pair = slop + 1 - (a - b if a > b else b - a)
                if pair > 0 and previous[j] + pair > best:
                    best, step = previous[j] + pair, _MATCH
                row.append(best)
                steps.append(step)
            self.gain.append(row)
            self._step.append(steps)
            previous = row

    def pairs(self, i: int | None = None, j: int | None = None) -> Pairs:
        """Index pairs, in order, of the best pairing of `first[:i]` with `second[:j]`."""
        i = len(self.first) if i is None else i
        j = len(self.second) if j is None else j
        found: Pairs = []
        while i and j:
            step = self._step[i][j]
            if step == _MATCH:
                found.append((i - 1, j - 1))
            i -= step != _SKIP_SECOND
            j -= step != _SKIP_FIRST
        found.reverse()
        return found


def _common(futures: Sequence[tuple[Pairs, int, int]], n: int, m: int) -> Settled:
    """What pairings agree on: leading pairs, then the frames that none of them uses next.

    Each future is its pairs and the first indices that it leaves open. Only pairs of the first
    `n` and `m` times count as decided; others are still to come.
    """
    shortest = min(len(pairs) for pairs, _, _ in futures)
    reference = futures[0][0]
    k = 0
    while (
        k < shortest
        and reference[k][0] < n
        and reference[k][1] < m
        and all(pairs[k] == reference[k] for pairs, _, _ in futures)
    ):
        k += 1
    ends = [pairs[k] if k < len(pairs) else (i, j) for pairs, i, j in futures]
    return reference[:k], min(n, *(i for i, _ in ends)), min(m, *(j for _, j in ends))


def _bounds(times: Sequence[int], other_next: int | None, slop: int) -> list[int]:
    """For each k: what `times[k:]` can gain at most from frames not before `other_next`."""
    bounds = [0]
    for t in reversed(times):
        apart = 0 if other_next is None else max(0, other_next - t)
        bounds.append(bounds[-1] + max(0, slop + 1 - apart))
    bounds.reverse()
    return bounds


def proven(alignment: Alignment, next_first: int | None, next_second: int | None) -> Settled:
    """What stays part of a best pairing whatever comes later.

    Args:
        alignment: of all frames known.
        next_first: no later frame of the first list comes before this time; None: no bound.
        next_second: the same for the second list.

    A best pairing of everything, seen on the known frames alone, uses up one list and leaves a
    tail of the other to later frames. Each such way to end is a candidate; one is out when another
    has gained at least as much even if every frame that only the former kept free found its
    nearest possible partner. What all remaining candidates share is settled.
    """
    n, m = len(alignment.first), len(alignment.second)
    first_bound = _bounds(alignment.first, next_second, alignment.slop)
    second_bound = _bounds(alignment.second, next_first, alignment.slop)
    gain = alignment.gain

    def beats(b: tuple[int, int], a: tuple[int, int]) -> bool:
        extra = max(0, first_bound[a[0]] - first_bound[b[0]])
        extra += max(0, second_bound[a[1]] - second_bound[b[1]])
        return gain[a[0]][a[1]] + extra <= gain[b[0]][b[1]]

    # Furthest first: of two that beat each other the one that settles more frames is kept.
    ends = sorted({(i, m) for i in range(n + 1)} | {(n, j) for j in range(m + 1)}, key=sum)[::-1]
    kept: list[tuple[int, int]] = []
    for end in ends:
        if not any(beats(k, end) for k in kept):
            kept = [k for k in kept if not beats(end, k)] + [end]
    return _common([(alignment.pairs(i, j), i, j) for i, j in kept], n, m)


def agreed(
    first: Sequence[int],
    second: Sequence[int],
    slop: int,
    futures: Sequence[tuple[Sequence[int], Sequence[int]]],
    next_first: int,
    next_second: int,
) -> Settled:
    """Leading pairs that are best when each of `futures` in turn is what comes next.

    Expecting makes pairs, it gives up no frame: one behind the last of these pairs stays open until
    it is out of reach of whatever may come. An expected frame may be lost, and then it is the
    second best that counts; or the camera keeps no rhythm, and sends before it is expected.

    Args:
        first: known times, increasing.
        second: known times, increasing.
        slop: greatest |dt| of a pair.
        futures: (later times of the first list, later times of the second); at least one future,
            and at least one time in each.
        next_first: no later frame of the first list comes before this time.
        next_second: the same for the second list.
    """
    n, m = len(first), len(second)
    pairs: Pairs = []
    if n and m:  # else there is no known pair to agree on, whatever comes
        pairings = []
        for later_first, later_second in futures:
            alignment = Alignment([*first, *later_first], [*second, *later_second], slop)
            pairings.append((alignment.pairs(), n, m))
        pairs, _, _ = _common(pairings, n, m)
    i, j = (pairs[-1][0] + 1, pairs[-1][1] + 1) if pairs else (0, 0)
    first_open = first[i] if i < n else next_first
    second_open = second[j] if j < m else next_second
    while i < n and first[i] + slop < second_open:
        i += 1
    while j < m and second[j] + slop < first_open:
        j += 1
    return pairs, i, j
