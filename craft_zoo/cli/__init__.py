"""The ``craft-zoo`` command.

- :func:`main`: what the installed script calls
"""

import os

# Read by OpenMP when torch is loaded, so it must stand before the imports. A thread that waits for
# work spins, by default long enough to all but stop another process on the same cores, or sleeps
# at once with OMP_WAIT_POLICY=PASSIVE, and waking it costs as much as a small operation. Between
# the two it does neither (measured in docs/performance.md).
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")

from craft_zoo.cli.main import main

__all__ = ["main"]
