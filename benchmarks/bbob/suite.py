"""Runs solvers on BBOB in several processes, and resumes from stored runs."""

from __future__ import annotations

import hashlib
import json
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import pandas as pd
from threadpoolctl import threadpool_limits

from craft_zoo.benchmarks.bbob.peers import PEERS
from craft_zoo.benchmarks.bbob.plots import plot_ecdf, plot_groups
from craft_zoo.benchmarks.bbob.problems import TARGETS, Problem, check, load_cocoex
from craft_zoo.benchmarks.bbob.runtimes import COLUMNS, compare, summarize
from craft_zoo.benchmarks.bbob.solvers import Solver, check_spec
from craft_zoo.benchmarks.grid import slug
from craft_zoo.benchmarks.store import environment
from craft_zoo.errors import CraftZooError
from craft_zoo.files import OTHER_FOLDER, write_atomically, writing
from craft_zoo.machine import process_context


@dataclass(frozen=True)
class Suite:
    """The problems, the same for every solver.

    Attributes:
        dimension: d.
        budget: evaluations per run and dimension: a run has ``budget`` times d evaluations.
        functions: numbers of the functions.
        instances: numbers of the instances of each function.
        suite: COCO's name, one of :data:`~craft_zoo.benchmarks.bbob.problems.SUITES`.
    """

    dimension: int
    budget: int
    functions: tuple[int, ...]
    instances: tuple[int, ...]
    suite: str = "bbob"

    @property
    def evaluations(self) -> int:
        """Evaluations per run."""
        return self.budget * self.dimension

    def check(self, solvers: Sequence[Solver]) -> None:
        """Validate the suite and the solvers before anything is run.

        Raises:
            CraftZooError: a number is out of range, a solver cannot run, or cocoex is missing.
            OptimizerError: an unknown optimizer or a wrong option.
        """
        if self.budget < 2:
            raise CraftZooError(
                f"the budget must be at least 2 evaluations a dimension, not {self.budget}: "
                f"raise budget (--budget)"
            )
        for function in self.functions:
            for instance in self.instances:
                check(function, instance, self.dimension, self.suite)
        for solver in solvers:
            if solver.spec not in PEERS:
                check_spec(solver.spec, self.dimension, self.evaluations)
        load_cocoex()


def run(
    suite: Suite,
    solvers: Sequence[Solver],
    folder: Path,
    *,
    jobs: int,
    advance: Callable[[int], None] = lambda runs: None,
) -> pd.DataFrame:
    """Execute the runs that ``folder`` does not contain yet.

    A unit of work is one solver on all instances of one function; a kill loses only the units in
    progress.

    Args:
        suite: the problems.
        solvers: the solvers to run on them.
        folder: stores finished runs, one file per solver; created if missing.
        jobs: number of processes.
        advance: called with the number of newly finished runs, or of runs found in ``folder``.

    Returns:
        The runtimes of the solvers on the suite, see :mod:`craft_zoo.benchmarks.bbob.runtimes`.

    Raises:
        CraftZooError: see :meth:`Suite.check`; or ``folder`` is not writable or holds runs of
            another dimension or budget; or a process was killed.
    """
    if jobs < 1:
        raise CraftZooError(f"at least 1 process is needed, not {jobs}: raise jobs (--jobs)")
    suite.check(solvers)
    with writing(folder, OTHER_FOLDER):
        folder.mkdir(parents=True, exist_ok=True)
    tables = {solver: _load(solver, suite, folder) for solver in solvers}
    units = []
    for function in suite.functions:
        for solver, table in tables.items():
            there = set(table.loc[table["function"] == function, "instance"])
            missing = tuple(number for number in suite.instances if number not in there)
            advance(len(suite.instances) - len(missing))
            if missing:
                units.append((solver, function, missing))
    if units:
        with ProcessPoolExecutor(
            min(jobs, len(units)), mp_context=process_context(__name__), initializer=_start_worker
        ) as executor:
            futures = {executor.submit(run_unit, *unit, suite): unit for unit in units}
            try:
                for future in as_completed(futures):
                    solver, _, instances = futures[future]
                    tables[solver] = pd.concat([tables[solver], future.result()])
                    write_atomically(
                        _file(solver, suite, folder), tables[solver].to_csv(index=False)
                    )
                    advance(len(instances))
            except BrokenProcessPool:
                raise CraftZooError(
                    "a process died (out of memory?): rerun the same command with lower jobs "
                    "(--jobs), which continues"
                ) from None
            except BaseException:
                executor.shutdown(wait=False, cancel_futures=True)
                raise
    runtimes = pd.concat(tables.values(), ignore_index=True)
    asked = runtimes["function"].isin(suite.functions) & runtimes["instance"].isin(suite.instances)
    return runtimes[asked].reset_index(drop=True)


def run_unit(solver: Solver, function: int, instances: Sequence[int], suite: Suite) -> pd.DataFrame:
    """Run one solver on instances of one function, seeded by function and instance only."""
    tables = []
    for instance in instances:
        problem = Problem(function, instance, suite.dimension, suite.suite)
        solver.run(problem, suite.evaluations, seed=1000 * function + instance)
        table = pd.DataFrame({"target": TARGETS, "evaluations": problem.reached})
        # pycma may exceed the budget; targets reached beyond it do not count.
        table.loc[table["evaluations"] > suite.evaluations, "evaluations"] = float("inf")
        table["solver"], table["function"], table["instance"] = solver.name, function, instance
        table["dimension"], table["budget"] = suite.dimension, suite.evaluations
        tables.append(table[list(COLUMNS)])
    return pd.concat(tables)


def write_results(
    runtimes: pd.DataFrame, suite: Suite, solvers: Sequence[Solver], folder: Path
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write ``summary.csv``, ``differences.csv``, ``config.json``, ``ecdf.*`` and ``groups.*``.

    ``folder`` must exist. Returns the summary, and the differences to the bare libraries.
    """
    summary, differences = summarize(runtimes), compare(runtimes, solvers)
    write_atomically(folder / "summary.csv", summary.to_csv(index=False))
    write_atomically(folder / "differences.csv", differences.to_csv(index=False))
    about = environment()
    about["packages"]["coco-experiment"] = metadata.version("coco-experiment")
    config = {
        "suite": asdict(suite),
        "solvers": [asdict(solver) for solver in solvers],
        "environment": about,
    }
    write_atomically(folder / "config.json", json.dumps(config, indent=1))
    plot_ecdf(runtimes, solvers, folder)
    plot_groups(runtimes, solvers, folder)
    return summary, differences


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends workers without a traceback
    threadpool_limits(1)  # parallelism comes from the processes


def _file(solver: Solver, suite: Suite, folder: Path) -> Path:
    name = solver.name if suite.suite == "bbob" else f"{suite.suite} {solver.name}"
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return folder / f"runtimes-{slug(name)[:60]}-{digest}.csv"


def _load(solver: Solver, suite: Suite, folder: Path) -> pd.DataFrame:
    path = _file(solver, suite, folder)
    try:
        table = pd.read_csv(path)[list(COLUMNS)].astype(COLUMNS)
    except FileNotFoundError:
        return pd.DataFrame(columns=list(COLUMNS)).astype(COLUMNS)
    except (OSError, ValueError, KeyError) as error:
        raise CraftZooError(
            f"the runtimes {path} cannot be read ({error}): remove the file to run them again"
        ) from None
    for column, ours in (("dimension", suite.dimension), ("budget", suite.evaluations)):
        others = set(table[column]) - {ours}
        if others:
            raise CraftZooError(
                f"{path} holds runs with a {column} of {others.pop()}, not {ours}: "
                f"choose another folder (--out)"
            )
    return table
