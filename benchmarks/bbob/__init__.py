"""Benchmark of the optimizers, and of the libraries they wrap, on COCO's BBOB functions.

A solver runs on each problem (function, instance) once. The result is the number of evaluations
after which it first reached each of 51 target precisions.

- :class:`Problem`, :data:`TARGETS`: a function that records the targets reached
- :class:`Solver`, :func:`run_spec`, :func:`run_bare`: an optimizer through craft-zoo, or bare
- :class:`Suite`, :func:`run`: many problems in several processes
- :func:`summarize`, :func:`compare`: areas under the runtime distributions, with intervals
- :func:`plot_ecdf`, :func:`plot_groups`, :func:`write_results`: result files
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
