"""Process-wide settings of memory allocation and threads."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.context import BaseContext
from pathlib import Path

from threadpoolctl import ThreadpoolController, threadpool_limits

from craft_zoo.errors import CraftZooError

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory() -> None:
    """Configure glibc to reuse freed blocks instead of returning them to the kernel.

    A run allocates and frees the same large activations thousands of times; by default each
    allocation gets new pages that the kernel must clear. The function does nothing without glibc or
    if the environment already configures glibc's malloc.
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
    """Set the number of threads of PyTorch and of NumPy's linear algebra.

    Raises:
        CraftZooError: ``threads`` is below 1.
    """
    if threads < 1:
        raise CraftZooError(f"at least 1 thread is needed, not {threads}: give more")
    threadpool_limits(threads)
    with suppress(ModuleNotFoundError):  # the extra torch
        import torch

        torch.set_num_threads(threads)


@contextmanager
def one_numpy_thread() -> Iterator[None]:
    """Limit NumPy's linear algebra to one thread.

    Threads of NumPy and of PyTorch spin while they wait for work. In a search, which alternates
    between the two libraries, they would compete for the cores, and a run would take more than
    twice as long (docs/performance.md). NumPy does only a small part of the work.
    """
    controller = ThreadpoolController()
    # A process may have several copies of OpenBLAS; only that of NumPy's wheel is limited.
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
