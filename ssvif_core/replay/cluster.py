"""Recordings on a cluster: the same function on each, by Dask (extra `cluster`).

Dask and not Ray: pure Python, a few megabytes, and it needs nothing but a scheduler's address; what
is handed out here is a handful of long tasks. Recordings and output folders have the same paths on
all machines (a shared file system), and the package is installed there.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from ssvif_core.errors import SsvifError
from ssvif_core.replay.one import Outcome, Task, Watch, do_task, tune_process

__all__ = ["run_on_cluster"]

CONNECT_S = 10
#: How often a task says how far it is, and looks whether it is to stop.
TOLD_EVERY_S = 1.0


def run_on_cluster(
    tasks: Sequence[Task], address: str, watch: Watch
) -> Iterator[tuple[int, Outcome]]:
    """Hand all tasks to a Dask scheduler; outcomes as they come.

    After Ctrl-C what has not begun is taken back, and what runs writes what it has measured.

    Args:
        tasks: what to do.
        address: of the scheduler, such as tcp://host:8786.
        watch: told how far tasks are.

    Raises:
        SsvifError: Dask is not installed, or the scheduler does not answer.
    """
    try:
        from distributed import Client, Event, as_completed
    except ImportError as error:
        raise SsvifError(f"--cluster needs Dask: pip install '.[cluster]' ({error}).") from error
    try:
        client = Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise SsvifError(f"No Dask scheduler answers at {address}: {error}") from error
    with client:
        topic = f"ssvif-replay-{time.time_ns()}"
        client.subscribe_topic(topic, lambda event: watch(*event[1]))
        futures = {
            client.submit(_remote, task, number, topic, pure=False, retries=0): number
            for number, task in enumerate(tasks)
        }
        left, stopped = dict(futures), False
        while left:
            try:
                for future in as_completed([*left], loop=client.loop):
                    number = left.pop(future)
                    yield number, _outcome(future, stopped=stopped)
            except KeyboardInterrupt:
                if stopped:
                    raise
                stopped = True
                Event(topic, client=client).set()


def _outcome(future: Any, *, stopped: bool) -> Outcome:
    error = future.exception()
    if error is None:
        return future.result()
    return Outcome(failed=f"{type(error).__name__}: {error}", interrupted=stopped)


def _remote(task: Task, number: int, topic: str) -> Outcome:
    """What runs on a worker of the cluster."""
    from distributed import Event, get_worker

    tune_process()
    worker, stop, last = get_worker(), Event(topic), 0.0
    if stop.is_set():
        return Outcome(interrupted=True)

    def progress(done_s: float, total_s: float | None, remark: str) -> None:
        nonlocal last
        if time.monotonic() - last < TOLD_EVERY_S:
            return
        last = time.monotonic()
        worker.log_event(topic, (number, done_s, total_s, remark))
        if stop.is_set():
            raise KeyboardInterrupt

    return do_task(task, progress)
