"""Executes runs in parallel processes on this machine.

Each process opens the model and writes to the same store. A lock on each run's journal keeps two
processes from executing the same run; if a process dies, another resumes its run.
"""

from __future__ import annotations

import os
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from multiprocessing import connection
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from craft_zoo.benchmarks.grid import RunSpec
from craft_zoo.benchmarks.queue import POLL_SECONDS, Listener, Outcome, RunQueue
from craft_zoo.benchmarks.runner import Bench, check_opened, check_tasks
from craft_zoo.benchmarks.store import Point, RunStore
from craft_zoo.blackbox import VLM
from craft_zoo.data import OpenedDatasets
from craft_zoo.errors import CraftZooError
from craft_zoo.machine import keep_freed_memory, process_context, use_threads

DEATHS = 3  # number of lost workers after which a run fails

OpenVLM = Callable[[], VLM]
"""Opens the model; must be picklable, as it is sent to other processes."""


def run_in_processes(
    open_vlm: OpenVLM,
    store: RunStore,
    runs: Sequence[RunSpec],
    *,
    jobs: int,
    threads: int | None = None,
    in_flight: int | None = None,
    datasets: OpenedDatasets | None = None,
    listener: Listener | None = None,
    checked: bool = False,
) -> dict[RunSpec, list[Point]]:
    """As :meth:`Bench.run`, with several runs at a time.

    Args:
        open_vlm: opens the model, called once per process; must be picklable.
        store: the store of the runs.
        runs: the grid.
        jobs: number of processes.
        threads: threads per process; None: the number of cores divided by ``jobs``.
        in_flight: see :class:`~craft_zoo.blackbox.ReplayVLM`.
        datasets: data sets opened before; each process gets a copy.
        listener: receives the progress.
        checked: whether :func:`check_opened` was called before.

    Raises:
        CraftZooError: invalid input, see the message; all runs that do not fail are finished.
    """
    if jobs < 1:
        raise CraftZooError(f"at least 1 job is needed, not {jobs}: raise jobs (--jobs)")
    threads = threads or max(1, _cores() // jobs)
    datasets = datasets or OpenedDatasets()
    check_tasks(runs, datasets)
    if not checked:
        check_opened(open_vlm, store, runs)  # workers may see none of the finished runs
    queue = RunQueue(store, runs, listener)
    start = (open_vlm, store.folder, in_flight, threads, datasets)
    workers = [_Worker(start) for _ in range(min(jobs, len(queue.waiting)))]
    deaths: Counter[RunSpec] = Counter()
    try:
        while queue.waiting or any(worker.run for worker in workers):
            for worker in workers:
                if queue.waiting and worker.run is None:
                    worker.take(queue.waiting.popleft())
            heard = connection.wait([worker.connection for worker in workers], POLL_SECONDS)
            for worker in (worker for worker in workers if worker.connection in heard):
                message = worker.receive()
                if isinstance(message, Outcome):
                    assert worker.run is not None, "an outcome is of a run"
                    queue.settle(worker.run, message)
                    worker.run = None
                elif message is not None:
                    pass_on(listener, message)
                else:
                    run = worker.replace()
                    deaths[run] += 1
                    if deaths[run] < DEATHS:
                        queue.waiting.appendleft(run)
                    else:
                        reason = (
                            f"its process was killed {DEATHS} times: is there memory for "
                            f"{jobs} jobs (--jobs)?"
                        )
                        queue.settle(run, Outcome(reason=reason))
    finally:
        for worker in workers:
            worker.stop()
    return queue.curves()


class _Worker:
    """A process and its current run."""

    def __init__(self, start: tuple[Any, ...]) -> None:
        self._start = start
        self.run: RunSpec | None = None
        self._begin()

    def _begin(self) -> None:
        context = process_context(__name__)
        self.connection, theirs = context.Pipe()
        self.process = context.Process(  # type: ignore[attr-defined]
            target=_work, args=(theirs, dict(os.environ), *self._start), daemon=True
        )
        self.process.start()
        theirs.close()  # so that the pipe closes when the process ends

    def take(self, run: RunSpec) -> None:
        self.run = run
        with suppress(OSError):  # it has died, which receive() detects
            self.connection.send(run)

    def receive(self) -> Any:
        """The next message of the process; None if it has died."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            return None

    def replace(self) -> RunSpec:
        """Start a new process in place of one that has died; returns the run of the old one."""
        run = self.run
        if run is None:
            raise CraftZooError(
                f"a worker process ended with exit code {self.process.exitcode} before its first "
                f"run (out of memory?): lower jobs (--jobs)"
            )
        self.stop()
        self.run = None
        self._begin()
        return run

    def stop(self) -> None:
        self.process.terminate()
        self.process.join()
        self.connection.close()


def _work(
    link: Connection,
    environment: Mapping[str, str],
    open_vlm: OpenVLM,
    folder: Path,
    in_flight: int | None,
    threads: int,
    datasets: OpenedDatasets,
) -> None:
    """Execute the received runs until the connection closes."""
    os.environ.clear()  # inherited from the server that has forked this process
    os.environ.update(environment)
    # Ctrl-C in a terminal reaches all processes of a command; the main one stops the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    relay: Any = Relay(link.send)
    bench = None
    with suppress(EOFError, OSError):
        while True:
            run = link.recv()
            try:
                bench = bench or open_bench(
                    open_vlm, RunStore(folder), in_flight, threads, datasets
                )
                outcome = attempt(bench, run, relay)
            except ConnectionError:  # the main process has closed the connection
                raise
            except CraftZooError as error:
                outcome = Outcome(reason=str(error))
            except Exception as error:  # a bug of the model when it is opened
                traceback.print_exc()
                outcome = Outcome(reason=f"{type(error).__name__}: {error}")
            link.send(outcome)


class Relay:
    """A listener that forwards its calls, as names and arguments, to another process."""

    def __init__(self, send: Callable[[tuple[str, tuple[Any, ...]]], None]) -> None:
        self._send = send

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *arguments: self._send((name, arguments))


def pass_on(listener: Listener | None, message: tuple[str, tuple[Any, ...]]) -> None:
    """Call a listener's method as sent by a :class:`Relay`."""
    if listener is not None:
        name, arguments = message
        getattr(listener, name)(*arguments)


def open_bench(
    open_vlm: OpenVLM,
    store: RunStore,
    in_flight: int | None,
    threads: int,
    datasets: OpenedDatasets,
) -> Bench:
    """Open a model and a bench in a worker process."""
    keep_freed_memory()
    use_threads(threads)
    return Bench(open_vlm(), store, in_flight=in_flight, datasets=datasets)


def attempt(bench: Bench, run: RunSpec, relay: Any) -> Outcome:
    """As :meth:`Bench.attempt`, with a pause if another process is executing the run."""
    outcome = bench.attempt(run, relay)
    if outcome.busy:
        time.sleep(POLL_SECONDS)
    return outcome


def _cores() -> int:
    """Number of CPU cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return os.cpu_count() or 1
