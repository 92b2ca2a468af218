"""Shared code of the executors' workers: opening a bench, and forwarding its progress."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from craft_zoo.benchmarks.queue import Listener
from craft_zoo.benchmarks.runner import Bench
from craft_zoo.benchmarks.store import RunStore
from craft_zoo.blackbox import VLM
from craft_zoo.data import OpenedDatasets
from craft_zoo.machine import keep_freed_memory, use_threads

DEATHS = 3  # number of lost workers after which a run fails

OpenVLM = Callable[[], VLM]
"""Opens the model; must be picklable, as it is sent to other processes."""


class Relay:
    """A listener that forwards its calls to another process.

    Args:
        send: receives a method's name and its arguments.
    """

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
