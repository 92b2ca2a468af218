"""What the process takes of the machine: memory and threads."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import BaseContext
from pathlib import Path

import torch
from threadpoolctl import ThreadpoolController, threadpool_limits

from craft_zoo.errors import CraftZooError

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory() -> None:
    """Tell glibc to reuse freed blocks instead of giving each back to the kernel.

    A run allocates and frees the same large activations thousands of times; by default each comes
    as fresh pages that the kernel must clear. Elsewhere than on glibc nothing happens, nor where
    the environment sets glibc's malloc up already.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def use_threads(threads: int) -> None:
    """Compute on so many threads, in PyTorch and in NumPy's linear algebra.

    Raises:
        CraftZooError: not a number of threads.
    """
    if threads < 1:
        raise CraftZooError(f"at least 1 thread is needed, not {threads}: give more")
    threadpool_limits(threads)
    torch.set_num_threads(threads)


@contextmanager
def one_numpy_thread() -> Iterator[None]:
    """NumPy's linear algebra on one thread.

    Its threads and PyTorch's each wait for work by spinning. Where a search alternates between the
    two, as here, they take the cores from each other, and a run takes more than twice as long
    (docs/performance.md). NumPy's share of the work is small.
    """
    controller = ThreadpoolController()
    # Of the copies of OpenBLAS that a process may hold, that of NumPy's wheel and no other's.
    paths = [
        library["filepath"]
        for library in controller.info()
        if library["internal_api"] == "openblas"
        and {"numpy.libs", "scipy.libs"} & set(Path(library["filepath"]).parts)
    ]
    with controller.select(filepath=paths).limit(limits=1):
        yield


def process_context(module: str) -> BaseContext:
    """Return the multiprocessing context of workers whose functions are in ``module``.

    Importing PyTorch and what else a worker needs takes seconds. On Linux a server process imports
    ``module`` once and forks each worker. A fork of this process could hang on its threads' locks.
    The server keeps the environment variables with which the first worker was started.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([module])
    return context
