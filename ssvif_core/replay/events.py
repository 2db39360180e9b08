"""What went wrong in a recording, and when: from the summary, for the report."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from ssvif_core.replay.streams import FIRST_WAIT_S

__all__ = ["Event", "events", "lanes"]


class Event(NamedTuple):
    """A span of trouble.

    Attributes:
        start_s, end_s: since the first camera frame.
        lane: of the timeline of health: visible, thermal, pairs, or real time.
        what: in words.
        kind: how it is drawn: gone, frozen, alone or dropped.
    """

    start_s: float
    end_s: float
    lane: str
    what: str
    kind: str


def events(summary: dict[str, Any]) -> list[Event]:
    """All of them in order of time."""
    found = [*_of_cameras(summary["streams"]), *_of_pairs(summary), *_of_the_end(summary)]
    return sorted(found)


def lanes(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """The timeline of health: for each lane a bar of all the time, and the events upon it."""
    trouble = events(summary)
    seconds = summary["recording"]["seconds"]
    return [
        {
            "name": name,
            "spans": [{"from": 0, "to": seconds, "name": "", "kind": "well"}]
            + [
                {"from": e.start_s, "to": e.end_s, "name": e.what, "kind": e.kind}
                for e in trouble
                if e.lane == name
            ],
        }
        for name in ("visible", "thermal", "pairs", "real time")
    ]


def _of_cameras(streams: dict[str, Any]) -> Iterator[Event]:
    for camera, stream in streams.items():
        for key, what, kind in (
            ("gaps", "no message for {:.2f} s", "gone"),
            ("frozen", "the same image for {:.2f} s", "frozen"),
        ):
            for span in stream[key]:
                start, seconds = span["start_s"], span["seconds"]
                yield Event(start, start + seconds, camera, what.format(seconds), kind)


def _of_pairs(summary: dict[str, Any]) -> Iterator[Event]:
    silent = [(s["start_s"], s["start_s"] + s["seconds"]) for s in summary["silent"]]
    for start, end in silent:
        yield Event(start, end, "pairs", f"neither camera sent for {end - start:.2f} s", "gone")
    for span in summary["presence"]:
        start, end = span["start_s"], span["start_s"] + span["seconds"]
        known = any(a <= start and end - b < FIRST_WAIT_S for a, b in silent)
        if span["mode"] in summary["streams"]:
            yield Event(start, end, "pairs", f"the {span['mode']} camera alone", "alone")
        elif span["mode"] == "none" and not known and (start > 0 or end > FIRST_WAIT_S):
            yield Event(start, end, "pairs", "no camera", "gone")
    timeline, last = summary["timeline"], summary["recording"]["seconds"]
    for figure, one, several in (
        ("bad", "1 pair could not be fused", "{} pairs could not be fused"),
        ("refused", "1 image was refused", "{} images were refused"),
    ):
        for start, end, count in _runs(timeline[figure]):
            what = one if count == 1 else several.format(count)
            yield Event(start, min(end, last), "pairs", what, "gone")
    for start, end, count in _runs(timeline["dropped"] or ()):
        whole = sum(timeline["paired"][start:end]) + sum(timeline["alone"][start:end])
        what = f"{count} of {whole} pairs would have been dropped"
        yield Event(start, min(end, last), "real time", what, "dropped")


def _of_the_end(summary: dict[str, Any]) -> Iterator[Event]:
    end = summary["recording"]["seconds"]
    for name, why in summary["recording"]["broken"].items():
        yield Event(end, end, "pairs", f"{name}: {why}", "gone")
    if summary["interrupted"]:
        yield Event(end, end, "pairs", f"the replay ended: {summary['interrupted']}", "gone")


def _runs(counts: Iterable[int]) -> Iterator[tuple[int, int, int]]:
    """(first second, second after the last, sum) of each run of counts above 0."""
    start, total, second = None, 0, -1
    for second, count in enumerate(counts):
        if count and start is None:
            start, total = second, 0
        if not count and start is not None:
            yield start, second, total
            start = None
        total += count
    if start is not None:
        yield start, second + 1, total
