"""Runs on a Ray cluster."""

from __future__ import annotations

import logging
import socket
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from craft_zoo.benchmarks.executors.work import DEATHS, OpenVLM, Relay, open_bench, pass_on
from craft_zoo.benchmarks.grid import RunSpec
from craft_zoo.benchmarks.queue import (
    POLL_SECONDS,
    Listener,
    Outcome,
    RunQueue,
)
from craft_zoo.benchmarks.runner import Bench
from craft_zoo.benchmarks.store import Point, RunStore
from craft_zoo.benchmarks.tasks import check_tasks
from craft_zoo.data import OpenedDatasets
from craft_zoo.errors import CraftZooError
from craft_zoo.files import write_atomically

_MARK = ".store-id"  # tells a worker whether it sees the same folder as we do
_KNOCK = 10  # seconds


def run_on_ray(
    open_vlm: OpenVLM,
    store: RunStore,
    runs: Sequence[RunSpec],
    *,
    address: str | None = None,
    cpus: int = 1,
    gpus: float = 0,
    in_flight: int | None = None,
    datasets: OpenedDatasets | None = None,
    listener: Listener | None = None,
) -> dict[RunSpec, list[Point]]:
    """As :meth:`Bench.run`, on a Ray cluster; needs the extra ``ray``.

    Data sets must be found under the same paths on every node. Where a node sees the store's folder
    (a shared file system), a run whose worker is lost goes on elsewhere where it was; where not, it
    goes on if it comes to the same node again, and begins anew on another. Finished runs are in the
    store either way.

    Args:
        open_vlm: opens the model, once a worker; picklable, as a function of a module is.
        store: where runs are kept and looked up.
        runs: the grid.
        address: of the cluster; ``auto``: the one on this machine; None: a new one for this call.
        cpus: of a run; it computes on so many threads.
        gpus: of a run, or a share of one.
        in_flight: see :class:`~craft_zoo.blackbox.ReplayVLM`.
        datasets: data sets opened before; each worker gets a copy.
        listener: told how it goes.

    Raises:
        CraftZooError: no Ray, no cluster, or bad input; all runs that can be are finished and kept.
    """
    try:
        import ray
        from ray.util.queue import Queue
    except ImportError:
        raise CraftZooError("Ray is not installed: pip install 'craft-zoo[ray]'") from None
    datasets = datasets or OpenedDatasets()
    check_tasks(runs, datasets)
    ledger = RunQueue(store, runs, listener)
    if not ledger.waiting:
        return ledger.curves()
    ours = not ray.is_initialized()
    if ours:
        _check_address(address)
        new: dict[str, Any] = {"include_dashboard": False, "_system_config": {"worker_niceness": 0}}
        try:
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                **(new if address is None else {}),
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise _unreachable(address, error) from None
    try:
        _check_resources(ray.cluster_resources(), cpus, gpus)
        queue = Queue()
        # Ray itself gives a task whose worker was lost to another.
        task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=DEATHS - 1)(_remote_run)
        place = (store.folder.resolve(), _mark(store))
        # In a list, as Ray would fetch a reference among the arguments for each task anew.
        shared = [ray.put(datasets)]

        def submit(run: RunSpec) -> Any:
            return task.remote(open_vlm, run, place, in_flight, cpus, shared, queue)

        running = {submit(run): run for run in ledger.waiting}
        ledger.waiting.clear()
        while running:
            done, _ = ray.wait(list(running), num_returns=1, timeout=POLL_SECONDS)
            for message in queue.get_nowait_batch(queue.qsize()):
                pass_on(listener, message)
            for reference in done:
                run = running.pop(reference)
                ledger.settle(run, _outcome(ray, reference, store, run))
            for run in list(ledger.waiting):  # that processes are at which are not ours
                running[submit(run)] = run
            ledger.waiting.clear()
    finally:
        if ours:
            ray.shutdown()
    return ledger.curves()


def _check_address(address: str | None) -> None:
    """Knock at a cluster's door; Ray itself waits minutes for one that does not open."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK).close()
        except OSError as error:
            raise _unreachable(address, error) from None


def _unreachable(address: str | None, error: Exception) -> CraftZooError:
    reason = (str(error).strip() or repr(error)).splitlines()[0]
    return CraftZooError(
        f"the Ray cluster {address!r} cannot be reached ({reason}): check its address"
    )


def _check_resources(there: dict[str, float], cpus: int, gpus: float) -> None:
    for name, needed in (("CPU", cpus), ("GPU", gpus)):
        if needed > there.get(name, 0):
            raise CraftZooError(
                f"a run asks for {needed} {name}s and the Ray cluster has "
                f"{there.get(name, 0):g} in all: lower --{name.lower()}s-per-run"
            )


def _mark(store: RunStore) -> str:
    """What only those read who see the same folder."""
    path = store.folder / _MARK
    if not path.exists():
        write_atomically(path, uuid.uuid4().hex)
    return path.read_text(encoding="utf-8")


def _outcome(ray: Any, reference: Any, store: RunStore, run: RunSpec) -> Outcome:
    """How a task ended; what it brings with it goes into the store."""
    try:
        outcome, files = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        return Outcome(reason=f"{type(error.cause).__name__}: {error.cause}")
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[0]
        return Outcome(reason=f"its worker was lost {DEATHS} times ({reason})")
    if files:
        store.receive(run, files)
    return outcome


_BENCHES: dict[Any, Bench] = {}  # of this worker, so that a model is opened once


def _remote_run(
    open_vlm: OpenVLM,
    run: RunSpec,
    place: tuple[Path, str],
    in_flight: int | None,
    cpus: int,
    datasets: list[Any],
    queue: Any,
) -> tuple[Outcome, dict[str, bytes]]:
    """Do a run on a worker; its files, where the store's folder is not seen from there."""
    folder, mark = place
    there = folder / _MARK
    shared = there.exists() and there.read_text(encoding="utf-8") == mark
    store = RunStore(folder if shared else Path(tempfile.gettempdir()) / f"craft-zoo-{mark}")
    try:
        if mark not in _BENCHES:
            import ray

            _BENCHES[mark] = open_bench(open_vlm, store, in_flight, cpus, ray.get(datasets[0]))
        relay: Any = Relay(queue.put_nowait)
        outcome = _BENCHES[mark].attempt(run, relay)
    except CraftZooError as error:
        return Outcome(reason=str(error)), {}
    if outcome.busy:
        time.sleep(POLL_SECONDS)
    return outcome, {} if shared or not outcome.done else store.files(run)
