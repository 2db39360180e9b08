"""The one-slot mailbox: order, dropping, errors, and the end."""

from __future__ import annotations

import threading

from ssvif_ros.worker import LatestWorker

WAIT_S = 10.0


def test_the_newest_item_wins_and_the_others_are_counted():
    busy, go, done = threading.Event(), threading.Event(), threading.Event()
    seen = []

    def work(item):
        seen.append(item)
        if item == 0:
            busy.set()
            assert go.wait(WAIT_S)
        if item == 4:
            done.set()

    worker = LatestWorker(work, on_error=lambda error: None)
    worker.offer(0)
    assert busy.wait(WAIT_S)  # 0 is being worked on, the slot is empty
    for item in (1, 2, 3, 4):  # 1, 2 and 3 are each replaced by the next
        worker.offer(item)
    go.set()
    assert done.wait(WAIT_S)
    assert worker.stop()
    assert seen == [0, 4]
    assert worker.dropped == 3


def test_an_item_that_raises_is_reported_and_the_next_is_worked_on():
    errors, done = [], threading.Event()

    def work(item):
        if item == "bad":
            raise ValueError(item)
        done.set()

    reported = threading.Event()

    def on_error(error):
        errors.append(error)
        reported.set()

    worker = LatestWorker(work, on_error)
    worker.offer("bad")
    assert reported.wait(WAIT_S)
    worker.offer("good")
    assert done.wait(WAIT_S)
    assert worker.stop()
    assert [str(error) for error in errors] == ["bad"]


def test_stopping_drops_what_waits_and_ends_the_thread():
    busy, go = threading.Event(), threading.Event()

    def work(item):
        busy.set()
        assert go.wait(WAIT_S)

    worker = LatestWorker(work, on_error=lambda error: None)
    worker.offer(1)
    assert busy.wait(WAIT_S)
    worker.offer(2)
    threading.Timer(0.05, go.set).start()
    assert worker.stop()
    assert worker.dropped == 1
    assert "fusion" not in {thread.name for thread in threading.enumerate()}
