"""Grids of runs on more than one process.

Each opens the model for itself and puts its runs into the same store, where a lock on each run's
journal keeps two from doing the same; a run whose process dies is taken up by another where it was.

- :func:`run_in_processes`: on this machine
- :func:`run_on_ray`: on a cluster, with the extra ``ray``
"""

from craft_zoo.benchmarks.executors.cluster import run_on_ray
from craft_zoo.benchmarks.executors.processes import run_in_processes

__all__ = ["run_in_processes", "run_on_ray"]
