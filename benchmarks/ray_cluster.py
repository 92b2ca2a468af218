"""Executes runs on a Ray cluster."""

from __future__ import annotations

import logging
import socket
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from craft_zoo.benchmarks.grid import RunSpec
from craft_zoo.benchmarks.processes import DEATHS, OpenVLM, Relay, attempt, open_bench, pass_on
from craft_zoo.benchmarks.queue import POLL_SECONDS, Listener, Outcome, RunQueue
from craft_zoo.benchmarks.runner import Bench, check_opened, check_tasks
from craft_zoo.benchmarks.store import Point, RunStore
from craft_zoo.data import OpenedDatasets
from craft_zoo.errors import CraftZooError, needs_extra
from craft_zoo.files import write_atomically

_MARK = ".store-id"  # file that shows a worker whether it sees the store's folder
_TIMEOUT = 10  # seconds


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
    checked: bool = False,
) -> dict[RunSpec, list[Point]]:
    """As :func:`run_in_processes`, on a Ray cluster; needs the extra ``ray``.

    Data sets must have the same paths on every node. If nodes share the store's folder (by a shared
    file system), a run whose worker is lost is resumed on any node. Otherwise it is resumed only on
    the same node, and restarted on another. Finished runs are stored in both cases.

    Args:
        address: address of the cluster; ``auto``: the one on this machine; None: a new one.
        cpus: CPUs per run, also its number of threads.
        gpus: GPUs per run, possibly a fraction.

    Raises:
        CraftZooError: Ray is missing, the cluster cannot be reached, or the input is invalid; all
            runs that do not fail are finished and stored.
    """
    with needs_extra("ray", "a Ray cluster"):
        import ray
        from ray.util.queue import Queue
    datasets = datasets or OpenedDatasets()
    check_tasks(runs, datasets)
    if not checked:
        check_opened(open_vlm, store, runs)  # workers may see none of the finished runs
    queue = RunQueue(store, runs, listener)
    if not queue.waiting:
        return queue.curves()
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
        messages = Queue()
        # Ray restarts the task of a lost worker on another one.
        task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=DEATHS - 1)(_remote_run)
        place = (store.folder.resolve(), _mark(store))
        # Ray would fetch a direct argument anew for each task, but not a reference in a list.
        shared = [ray.put(datasets)]

        def submit(run: RunSpec) -> Any:
            return task.remote(open_vlm, run, place, in_flight, cpus, shared, messages)

        running = {submit(run): run for run in queue.waiting}
        queue.waiting.clear()
        while running:
            done, _ = ray.wait(list(running), num_returns=1, timeout=POLL_SECONDS)
            for message in messages.get_nowait_batch(messages.qsize()):
                pass_on(listener, message)
            for reference in done:
                run = running.pop(reference)
                queue.settle(run, _outcome(ray, reference, store, run))
            for run in list(queue.waiting):  # runs that other processes were executing
                running[submit(run)] = run
            queue.waiting.clear()
    finally:
        if ours:
            ray.shutdown()
    return queue.curves()


def _check_address(address: str | None) -> None:
    """Check that the cluster's port accepts connections, as Ray would wait minutes."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_TIMEOUT).close()
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
    """Random content of a file in the store's folder, to recognize the folder on other nodes."""
    path = store.folder / _MARK
    if not path.exists():
        write_atomically(path, uuid.uuid4().hex)
    return path.read_text(encoding="utf-8")


def _outcome(ray: Any, reference: Any, store: RunStore, run: RunSpec) -> Outcome:
    """The outcome of a task; stores the files that it returns."""
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


_BENCHES: dict[Any, Bench] = {}  # of this worker process, so that it opens a model only once


def _remote_run(
    open_vlm: OpenVLM,
    run: RunSpec,
    place: tuple[Path, str],
    in_flight: int | None,
    cpus: int,
    datasets: list[Any],
    messages: Any,
) -> tuple[Outcome, dict[str, bytes]]:
    """Execute a run on a worker; also returns its files if the node does not see the store."""
    folder, mark = place
    there = folder / _MARK
    shared = there.exists() and there.read_text(encoding="utf-8") == mark
    store = RunStore(folder if shared else Path(tempfile.gettempdir()) / f"craft-zoo-{mark}")
    try:
        if mark not in _BENCHES:
            import ray

            _BENCHES[mark] = open_bench(open_vlm, store, in_flight, cpus, ray.get(datasets[0]))
        outcome = attempt(_BENCHES[mark], run, Relay(messages.put_nowait))
    except CraftZooError as error:
        return Outcome(reason=str(error)), {}
    return outcome, {} if shared or not outcome.done else store.files(run)
