"""The study: every method on several tasks, what each part of ours is worth, and what it costs.

``craft-zoo study`` makes it:

- :data:`METHODS`, :data:`ABLATIONS`, :class:`StudyTask`, :func:`main_grid`, :func:`ablation_grid`,
  :func:`shortened`: what is run
- :func:`measure_costs`, :func:`measure_deployment`: memory and time
- :func:`accuracy_table`, :func:`shots_table`, :func:`markdown`, :func:`plot_shots`,
  :func:`write_report`: what is written
"""

from craft_zoo.benchmarks.study.costs import measure_costs, measure_deployment
from craft_zoo.benchmarks.study.figures import plot_shots
from craft_zoo.benchmarks.study.plan import (
    ABLATIONS,
    METHODS,
    SHOTS,
    SLOW_METHOD,
    StudyTask,
    ablation_grid,
    main_grid,
    shortened,
)
from craft_zoo.benchmarks.study.report import write_report
from craft_zoo.benchmarks.study.tables import accuracy_table, markdown, shots_table

__all__ = [
    "ABLATIONS",
    "METHODS",
    "SHOTS",
    "SLOW_METHOD",
    "StudyTask",
    "ablation_grid",
    "accuracy_table",
    "main_grid",
    "markdown",
    "measure_costs",
    "measure_deployment",
    "plot_shots",
    "shortened",
    "shots_table",
    "write_report",
]
