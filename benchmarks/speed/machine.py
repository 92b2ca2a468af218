"""Measurements of the machine's matrix product rate and of the process's peak memory."""

from __future__ import annotations

import ctypes
import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

Rows = Iterator[dict[str, Any]]  # of a measurement's CSV file, with values by column


def fastest(
    work: Callable[[], object],
    *,
    repeats: int = 3,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Seconds of the fastest of ``repeats`` calls, by a clock."""
    best = float("inf")
    for _ in range(repeats):
        began = clock()
        work()
        best = min(best, clock() - began)
    return best


def gemm_rate(*, repeats: int = 20) -> float:
    """Best rate of PyTorch's float32 matrix product on this machine, in operations per second.

    The matrices are as large as a text tower's, and larger.
    """
    rate = 0.0
    for rows, inner, columns in [(2048, 2048, 2048), (4096, 2048, 512), (4096, 512, 1536)]:
        left, right = torch.randn(rows, inner), torch.randn(inner, columns)
        seconds = fastest(partial(torch.matmul, left, right), repeats=repeats)
        rate = max(rate, 2 * rows * inner * columns / seconds)
    return rate


@dataclass
class Peak:
    """Peak MB above the process's memory before; NaN where the system does not report it."""

    megabytes: float = float("nan")


@contextmanager
def peak_memory() -> Iterator[Peak]:
    """Measure the peak memory of the ``with`` block above the process's memory before (Linux)."""
    peak = Peak()
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)  # reusing freed memory would hide new allocations
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # resets VmHWM, the peak
    except (OSError, AttributeError, TypeError):
        yield peak
        return
    before = _status("VmRSS")
    yield peak
    peak.megabytes = (_status("VmHWM") - before) / 1024


def _status(field: str) -> int:
    """A field of /proc/self/status, in KiB."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(field))
