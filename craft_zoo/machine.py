"""What the process takes of the machine: memory and threads."""

from __future__ import annotations

import ctypes

import torch
from threadpoolctl import threadpool_limits

from craft_zoo.errors import CraftZooError

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory() -> None:
    """Tell glibc to reuse freed blocks instead of giving each back to the kernel.

    A run allocates and frees the same large activations thousands of times; by default each comes
    as fresh pages that the kernel must clear. Elsewhere than on glibc nothing happens.
    """
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
