"""Benchmarks: grids of runs on one model, compared by accuracy per query.

All tables and plots derive from the points that runs measured. A finished run is never repeated.

- :class:`RunSpec`, :func:`cross`, :func:`combine`, :func:`short_name`: the grid of runs
- :func:`name_datasets`: display names of its data sets
- :class:`Plan`, :func:`read_plan`: the grid as a file
- :class:`Bench`, :class:`Listener`, :class:`Listeners`: executing the grid
- :func:`run_in_processes`, :func:`run_on_ray`: executing it in parallel
- :class:`RunStore`, :class:`Point`: storage of finished runs
- :func:`tidy`, :func:`average_curves`, :func:`summarize`: tables over seeds
- :func:`score_table`, :func:`aggregate`, :func:`compare`, :func:`compare_all`, :func:`rank`:
  comparisons of methods over all tasks
- :func:`conclusions`: which method to take, in sentences
- :func:`performance_profile`, :func:`runtimes`, :func:`reached`: shares of runs above a score or
  past a target
- :func:`write_results`, :func:`write_config`, :func:`read_results`: result files
- :func:`write_archive`: a bench's runs as one file; :func:`lay_beside`: results of several benches;
  :func:`with_price`: their costs at a price
"""

from craft_zoo.benchmarks.archive import write_archive
from craft_zoo.benchmarks.conclusion import conclusions
from craft_zoo.benchmarks.cost_estimate import estimate_costs
from craft_zoo.benchmarks.grid import RunSpec, combine, cross, short_name
from craft_zoo.benchmarks.names import name_datasets
from craft_zoo.benchmarks.plan import DEFAULT_METHODS, Plan
from craft_zoo.benchmarks.plan_file import read_plan, read_suite, suite_names
from craft_zoo.benchmarks.processes import run_in_processes
from craft_zoo.benchmarks.profiles import performance_profile, reached, runtimes
from craft_zoo.benchmarks.queue import Listener, Listeners
from craft_zoo.benchmarks.ray_cluster import run_on_ray
from craft_zoo.benchmarks.results import (
    lay_beside,
    read_results,
    with_price,
    write_config,
    write_results,
)
from craft_zoo.benchmarks.runner import Bench
from craft_zoo.benchmarks.significance import aggregate, compare, compare_all, rank, score_table
from craft_zoo.benchmarks.statistics import (
    INTERVAL,
    SINGLE_SEEDS,
    average_curves,
    few_seeds_warning,
    spread,
    summarize,
    tidy,
)
from craft_zoo.benchmarks.store import Point, RunStore

__all__ = [
    "DEFAULT_METHODS",
    "INTERVAL",
    "SINGLE_SEEDS",
    "Bench",
    "Listener",
    "Listeners",
    "Plan",
    "Point",
    "RunSpec",
    "RunStore",
    "aggregate",
    "average_curves",
    "combine",
    "compare",
    "compare_all",
    "conclusions",
    "cross",
    "estimate_costs",
    "few_seeds_warning",
    "lay_beside",
    "name_datasets",
    "performance_profile",
    "rank",
    "reached",
    "read_plan",
    "read_results",
    "read_suite",
    "run_in_processes",
    "run_on_ray",
    "runtimes",
    "score_table",
    "short_name",
    "spread",
    "suite_names",
    "summarize",
    "tidy",
    "with_price",
    "write_archive",
    "write_config",
    "write_results",
]
