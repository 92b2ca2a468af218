"""The ``craft-zoo`` command.

- :func:`main`: what the installed script calls
"""

import os

# Read by OpenMP when torch is loaded, so it must stand before the imports: threads that wait for
# work sleep. By default they spin, and with another process on the same cores all but stop it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from craft_zoo.cli.main import main

__all__ = ["main"]
