"""How fast craft-zoo is, measured against a naive way in the same run.

``python -m craft_zoo.benchmarks.speed`` runs them:

- :func:`measure_scoring`: a generation's text features as released, without padding, by the engine
- :func:`measure_runs`: a whole run, ours and the released loop's
- :func:`measure_scaling`, :func:`plot_scaling`, :func:`exponent`: cost against size
- :func:`measure_memory`: memory at ImageNet's size
- :func:`measure_settings`: what the command's settings are worth
- :func:`measure_journal`, :func:`measure_parallel`: what the harness costs and gains
- :class:`NaiveScorer`, :func:`released_loop`: the naive ways
"""

from craft_zoo.benchmarks.speed.harness import measure_journal, measure_parallel
from craft_zoo.benchmarks.speed.naive import NaiveScorer
from craft_zoo.benchmarks.speed.released import released_loop
from craft_zoo.benchmarks.speed.scaling import (
    exponent,
    measure_memory,
    measure_scaling,
    memory_table,
    plot_scaling,
)
from craft_zoo.benchmarks.speed.scoring import measure_scoring, scoring_table
from craft_zoo.benchmarks.speed.settings import measure_settings, settings_table
from craft_zoo.benchmarks.speed.whole_run import measure_runs, runs_table

__all__ = [
    "NaiveScorer",
    "exponent",
    "measure_journal",
    "measure_memory",
    "measure_parallel",
    "measure_runs",
    "measure_scaling",
    "measure_scoring",
    "measure_settings",
    "memory_table",
    "plot_scaling",
    "released_loop",
    "runs_table",
    "scoring_table",
    "settings_table",
]
