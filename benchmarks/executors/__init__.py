"""Execution of grids in several processes.

Each process opens the model and writes to the same store. A lock on each run's journal keeps two
processes from executing the same run; if a process dies, another resumes its run.

- :func:`run_in_processes`: on this machine
- :func:`run_on_ray`: on a cluster, with the extra ``ray``
"""

from craft_zoo.benchmarks.executors.cluster import run_on_ray
from craft_zoo.benchmarks.executors.processes import run_in_processes

__all__ = ["run_in_processes", "run_on_ray"]
