"""What the machine gives: its matrix product rate, and memory used at the peak."""

from __future__ import annotations

import ctypes
import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch


def fastest(work: Callable[[], object], *, repeats: int = 3) -> float:
    """Seconds of the fastest of some repeats."""
    best = float("inf")
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
    return best


def gemm_rate() -> float:
    """Floating-point operations a second of the best float32 matrix product found here.

    Of products as large as a text tower's and larger; the rate is the machine's, not ours.
    """
    rate = 0.0
    for rows, inner, columns in [(2048, 2048, 2048), (4096, 2048, 512), (4096, 512, 1536)]:
        left, right = torch.randn(rows, inner), torch.randn(inner, columns)
        seconds = fastest(partial(torch.matmul, left, right), repeats=20)
        rate = max(rate, 2 * rows * inner * columns / seconds)
    return rate


@dataclass
class Peak:
    """Megabytes at the peak above what the process held before; NaN where that can't be read."""

    megabytes: float = float("nan")


@contextmanager
def peak_memory() -> Iterator[Peak]:
    """Measure how much more memory the process held at its peak (Linux only)."""
    peak = Peak()
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)  # or memory that was freed before would hide new memory
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # forget the peak so far
    except (OSError, AttributeError, TypeError):
        yield peak
        return
    before = _status("VmRSS")
    yield peak
    peak.megabytes = (_status("VmHWM") - before) / 1024


def _status(field: str) -> int:
    """Kilobytes."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(field))
