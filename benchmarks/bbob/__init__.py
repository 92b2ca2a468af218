"""Optimizers alone, on COCO's BBOB functions, beside the bare libraries that they wrap.

A solver runs on each problem (function, instance) once; what is kept is the evaluation at which it
first reached each of 51 precisions.

- :class:`Problem`, :data:`TARGETS`: a function that keeps what was reached
- :class:`Solver`, :func:`run_spec`, :func:`run_bare`: an optimizer through craft-zoo, or bare
- :class:`Suite`, :func:`run`: many problems in several processes
- :func:`summarize`, :func:`compare`: areas under the runtime distributions, with intervals
- :func:`plot_ecdf`, :func:`plot_groups`, :func:`write_results`: files for people
"""

from craft_zoo.benchmarks.bbob.plots import plot_ecdf, plot_groups
from craft_zoo.benchmarks.bbob.problems import TARGETS, Problem
from craft_zoo.benchmarks.bbob.runtimes import areas, compare, ecdf, summarize
from craft_zoo.benchmarks.bbob.solvers import Solver, has_bare, run_bare, run_spec
from craft_zoo.benchmarks.bbob.suite import Suite, run, write_results

__all__ = [
    "TARGETS",
    "Problem",
    "Solver",
    "Suite",
    "areas",
    "compare",
    "ecdf",
    "has_bare",
    "plot_ecdf",
    "plot_groups",
    "run",
    "run_bare",
    "run_spec",
    "summarize",
    "write_results",
]
