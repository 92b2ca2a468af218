"""Benchmarks: grids of runs on one model, compared by accuracy per query.

All tables and plots derive from the points that runs measured. A finished run is never repeated.

- :class:`RunSpec`, :class:`Variant`, :func:`cross`, :func:`combine`,
  :func:`label_runs`, :func:`short_name`: the grid of runs
- :func:`name_datasets`: display names of its data sets
- :class:`Plan`, :func:`read_plan`: the grid as a file
- :class:`Bench`, :class:`Listener`, :class:`Listeners`: executing the grid
- :func:`run_in_processes`, :func:`run_on_ray`: executing it in parallel
- :class:`RunStore`, :class:`Point`: storage of finished runs
- :func:`tidy`, :func:`average_curves`, :func:`summarize`, :func:`area_under_curve`: tables over
  seeds
- :func:`score_table`, :func:`aggregate`, :func:`compare`, :func:`compare_all`, :func:`rank`,
  :func:`holm`: comparisons of methods over all tasks
- :func:`performance_profile`, :func:`runtimes`, :func:`reached`, :func:`default_targets`: shares of
  runs above a score or past a target
- :func:`plot_curves`, :func:`write_results`, :func:`write_config`, :class:`Results`,
  :func:`read_results`: result files
"""

from craft_zoo.benchmarks.cost_estimate import estimate_costs
from craft_zoo.benchmarks.executors import run_in_processes, run_on_ray
from craft_zoo.benchmarks.grid import (
    RunSpec,
    Variant,
    combine,
    cross,
    label_runs,
    short_name,
)
from craft_zoo.benchmarks.names import name_datasets
from craft_zoo.benchmarks.plan import (
    DEFAULT_METHODS,
    Plan,
    read_plan,
    read_suite,
    suite_names,
)
from craft_zoo.benchmarks.plots import plot_curves
from craft_zoo.benchmarks.profiles import (
    default_targets,
    performance_profile,
    reached,
    runtimes,
)
from craft_zoo.benchmarks.published import figures_for, published_figures
from craft_zoo.benchmarks.queue import Listener, Listeners
from craft_zoo.benchmarks.results import Results, read_results, write_config, write_results
from craft_zoo.benchmarks.runner import Bench
from craft_zoo.benchmarks.significance import (
    Comparison,
    Ranks,
    aggregate,
    compare,
    compare_all,
    holm,
    rank,
    score_table,
)
from craft_zoo.benchmarks.statistics import (
    INTERVAL,
    SINGLE_SEEDS,
    SPREAD,
    area_under_curve,
    average_curves,
    few_seeds_warning,
    mean_interval,
    spread,
    summarize,
    tidy,
)
from craft_zoo.benchmarks.store import Point, RunStore

__all__ = [
    "DEFAULT_METHODS",
    "INTERVAL",
    "SINGLE_SEEDS",
    "SPREAD",
    "Bench",
    "Comparison",
    "Listener",
    "Listeners",
    "Plan",
    "Point",
    "Ranks",
    "Results",
    "RunSpec",
    "RunStore",
    "Variant",
    "aggregate",
    "area_under_curve",
    "average_curves",
    "combine",
    "compare",
    "compare_all",
    "cross",
    "default_targets",
    "estimate_costs",
    "few_seeds_warning",
    "figures_for",
    "holm",
    "label_runs",
    "mean_interval",
    "name_datasets",
    "performance_profile",
    "plot_curves",
    "published_figures",
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
    "write_config",
    "write_results",
]
