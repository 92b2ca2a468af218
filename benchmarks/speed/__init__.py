"""Speed of craft-zoo, relative to naive implementations measured in the same process.

``python -m craft_zoo.benchmarks.speed`` runs the measurements:

- :func:`measure_scoring`: text features of a generation: as released, unpadded, by the engine
- :func:`measure_runs`: a whole run, with craft-zoo and with the released loop
- :func:`measure_scaling`, :func:`plot_scaling`, :func:`exponent`: cost against size
- :func:`measure_memory`: memory at ImageNet's size
- :func:`measure_settings`: effect of the command line's thread and memory settings
- :func:`measure_journal`, :func:`measure_parallel`: cost of the journal, gain of parallel runs
- :class:`NaiveScorer`, :func:`released_loop`: the naive implementations
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
