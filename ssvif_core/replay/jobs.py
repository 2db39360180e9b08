"""Several recordings at the same time, each in a process of its own on this machine.

A process that dies takes only its own recording with it. Ctrl-C is the business of the process that
started the others: it asks each once to stop, and each writes what it has measured.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from time import monotonic
from typing import Any

from ssvif_core.replay.one import Outcome, Task, Watch, do_task, tune_process

__all__ = ["run_here", "run_in_processes"]

#: Replays say how far they are for every pair; this often is enough for a line on a terminal.
TOLD_EVERY_S = 0.2


def run_here(tasks: Sequence[Task], watch: Watch) -> Iterator[tuple[int, Outcome]]:
    """One after the other in this process; ends after one that was interrupted."""
    tune_process()
    for number, task in enumerate(tasks):
        outcome = do_task(task, _watching(watch, number))
        yield number, outcome
        if outcome.interrupted:
            return


def run_in_processes(
    tasks: Sequence[Task], jobs: int, watch: Watch
) -> Iterator[tuple[int, Outcome]]:
    """Up to `jobs` at a time; outcomes as they come. After Ctrl-C no more are begun."""
    spawn = multiprocessing.get_context("spawn")
    waiting = list(enumerate(tasks))
    going: dict[Connection, tuple[int, Any]] = {}
    stopped = False
    try:
        while going or (waiting and not stopped):
            try:
                while waiting and len(going) < jobs and not stopped:
                    number, task = waiting.pop(0)
                    ours, theirs = spawn.Pipe(duplex=False)
                    process = spawn.Process(target=_child, args=(task, theirs), daemon=False)
                    process.start()
                    theirs.close()  # so that its end shows in ours
                    going[ours] = (number, process)
                for ready in wait([*going]):
                    assert isinstance(ready, Connection)
                    number, process = going[ready]
                    outcome = _heard(ready, number, process, watch, stopped=stopped)
                    if outcome is not None:
                        del going[ready]
                        yield number, outcome
            except KeyboardInterrupt:
                if stopped:
                    raise
                stopped = True
                for _, process in going.values():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(process.pid, signal.SIGINT)
    finally:  # only where the caller gives up: after a second Ctrl-C, or an error of its own
        for _, process in going.values():
            process.terminate()
            process.join()


def _heard(
    connection: Connection, number: int, process: Any, watch: Watch, *, stopped: bool
) -> Outcome | None:
    """Take one message of a process; its outcome if it has ended."""
    try:
        said = connection.recv()
    except (EOFError, OSError):
        said = None
    if said is not None and not isinstance(said, Outcome):
        watch(number, *said)
        return None
    process.join()
    connection.close()
    if said is not None:
        return said
    how = f"its process ended with status {process.exitcode}"
    return Outcome(failed=how, interrupted=stopped)


def _child(task: Task, connection: Connection) -> None:
    """What runs in a process: one task."""
    # Ctrl-C of a terminal goes to a whole group: it shall reach only the first process.
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)
    signal.signal(signal.SIGINT, _interrupt_once)
    tune_process()

    def progress(done_s: float, total_s: float | None, remark: str) -> None:
        try:
            connection.send((done_s, total_s, remark))
        except OSError as error:  # the first process is gone
            raise KeyboardInterrupt from error

    outcome = do_task(task, _seldom(progress))
    with contextlib.suppress(OSError):
        connection.send(outcome)


def _interrupt_once(*_: object) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def _watching(watch: Watch, number: int) -> Any:
    return lambda done_s, total_s, remark: watch(number, done_s, total_s, remark)


def _seldom(progress: Any) -> Any:
    """The same, but not more often than every `TOLD_EVERY_S`."""
    last = -TOLD_EVERY_S

    def told(done_s: float, total_s: float | None, remark: str) -> None:
        nonlocal last
        if monotonic() - last >= TOLD_EVERY_S:
            last = monotonic()
            progress(done_s, total_s, remark)

    return told
