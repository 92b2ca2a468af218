"""What every executor's workers do, and how they tell of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from craft_zoo.benchmarks.queue import Listener
from craft_zoo.benchmarks.runner import Bench
from craft_zoo.benchmarks.store import RunStore
from craft_zoo.blackbox import VLM
from craft_zoo.data import OpenedDatasets
from craft_zoo.machine import keep_freed_memory, use_threads

DEATHS = 3  # of workers, after which a run is given up

OpenVLM = Callable[[], VLM]
"""Opens the model; it is sent to other processes, so that it must be picklable."""


class Relay:
    """A listener that sends on what it hears.

    Args:
        send: takes a method's name and its arguments.
    """

    def __init__(self, send: Callable[[tuple[str, tuple[Any, ...]]], None]) -> None:
        self._send = send

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *arguments: self._send((name, arguments))


def pass_on(listener: Listener | None, message: tuple[str, tuple[Any, ...]]) -> None:
    """Tell a listener what a :class:`Relay` has sent."""
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
    """A bench in a process of its own."""
    keep_freed_memory()
    use_threads(threads)
    return Bench(open_vlm(), store, in_flight=in_flight, datasets=datasets)
