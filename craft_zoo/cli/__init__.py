"""The ``craft-zoo`` command.

- :func:`main`: entry point of the installed script
"""

import os

# OpenMP reads this when torch is loaded, so it must be set before the imports. By default a waiting
# thread spins so long that it nearly stops other processes on the same cores. With
# OMP_WAIT_POLICY=PASSIVE it sleeps at once, and waking it costs as much as a small operation. This
# value is a compromise that avoids both (measured in docs/performance.md).
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")

from craft_zoo.cli.main import main

__all__ = ["main"]
