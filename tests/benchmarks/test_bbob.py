"""BBOB benchmark: measurements, agreement with the bare libraries, and the command."""

from __future__ import annotations

import random
import sys
import warnings
from pathlib import Path
from typing import Any

import cma
import nevergrad as ng
import numpy as np
import pandas as pd
import pytest

from craft_zoo import optimizers
from craft_zoo.benchmarks import bbob, overhead
from craft_zoo.benchmarks.bbob import TARGETS, Problem, Solver
from craft_zoo.benchmarks.bbob.runtimes import mean_bootstrap
from craft_zoo.cli import main
from craft_zoo.errors import CraftZooError

COMMAND = [
    *("bbob", "--optimizer", "sep-cma", "--optimizer", "spsa", "--bare", "--dimension", "2"),
    *("--budget", "50", "--functions", "1,8", "--instances", "1-2", "--jobs", "1"),
]


class Traced(Problem):
    """Records the best precision after every evaluation."""

    def __init__(self, function: int, instance: int, dimension: int) -> None:
        super().__init__(function, instance, dimension)
        self.trace: list[float] = []

    def __call__(self, z: np.ndarray) -> float:
        value = super().__call__(z)
        self.trace.append(self.precision)
        return value


def runtimes(**evaluations: list[float]) -> pd.DataFrame:
    """Runtimes in 2 dimensions, budget 200: evaluations to the last targets of f1 and f2."""
    rows = [
        (name, function, 1, 2, 200, target, reached)
        for name, values in evaluations.items()
        for (function, target), reached in zip(
            [(1, 1.0), (1, TARGETS[-1]), (2, 1.0), (2, TARGETS[-1])], values, strict=True
        )
    ]
    names = ["solver", "function", "instance", "dimension", "budget", "target", "evaluations"]
    return pd.DataFrame(rows, columns=names)


def test_the_targets_are_cocos() -> None:
    assert len(TARGETS) == 51
    np.testing.assert_allclose(TARGETS[[0, -1]], [1e2, 1e-8])
    np.testing.assert_allclose(np.diff(np.log10(TARGETS)), -0.2)


@pytest.mark.parametrize("function", range(1, 25))
def test_the_precision_is_the_distance_to_the_optimum(function: int) -> None:
    cocoex = pytest.importorskip("cocoex")
    peer = cocoex.BareProblem("bbob", function, 5, 3)
    best = np.array(peer.best_parameter()) / 2
    problem = Problem(function, 3, 5)
    assert problem(best + 0.1) == peer(2 * (best + 0.1))
    assert problem.precision > 0
    assert not problem.solved
    problem(best)
    assert abs(problem.precision) < 1e-11
    assert problem.solved
    assert problem.reached[-1] == problem.evaluations == 2
    suite = cocoex.Suite("bbob", "instances:3", "dimensions:5")
    official = suite.get_problem_by_function_dimension_instance(function, 5, 3)
    assert official(2 * best + 0.2) == pytest.approx(peer(2 * best + 0.2), rel=1e-12)
    assert not official.final_target_hit
    official(2 * best)
    assert official.final_target_hit


@pytest.mark.parametrize(
    ("suite", "function", "dimension"),
    [
        ("bbob-noisy", 101, 5),
        ("bbob-noisy", 130, 5),
        ("bbob-largescale", 1, 20),
        ("bbob-mixint", 8, 5),
    ],
)
def test_other_suites_have_their_optimum_and_repeat(
    suite: str, function: int, dimension: int
) -> None:
    pytest.importorskip("cocoex")
    values = []
    for _ in range(2):
        problem = Problem(function, 2, dimension, suite)
        bbob.run_spec("auto", problem, 200, seed=1)
        assert 0 <= problem.precision < 1e9
        assert problem.solved == (suite == "bbob-largescale")
        values.append((problem.precision, problem(np.zeros(dimension))))
    assert values[0] == values[1]
    assert problem.facts == {"bbob-noisy": {"noisy": True}, "bbob-mixint": {"rounded": True}}.get(
        suite, {}
    )


def test_whole_numbers_are_rounded_and_noise_is_seen() -> None:
    pytest.importorskip("cocoex")
    mixed, noisy = Problem(1, 1, 5, "bbob-mixint"), Problem(107, 1, 5, "bbob-noisy")
    z = np.full(5, 0.1)
    whole, real = np.diag([0.02] * 5)[[0, 4]]
    assert mixed(z) == mixed(z + whole) != mixed(z + real)
    seen = [noisy(z) for _ in range(5)]
    assert len(set(seen)) == 5
    assert noisy.precision > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1, 1, 5, "bbob-noisy"), "bbob-noisy has no function 1: choose from 101 to 130"),
        ((101, 16, 5, "bbob-noisy"), "bbob-noisy has no instance 16: choose from 1 to 15"),
        ((1, 1, 10, "bbob-largescale"), "functions have 20, 40, 80, 160, 320, 640 dimensions"),
        ((1, 1, 10, "bbob-biobj"), "there is no suite 'bbob-biobj': choose from bbob, bbob-noisy"),
    ],
)
def test_numbers_that_a_suite_lacks_are_named(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(CraftZooError, match=message):
        Problem(*arguments)


def test_each_target_is_noted_when_it_is_first_reached() -> None:
    pytest.importorskip("cocoex")
    problem = Traced(1, 1, 2)
    bbob.run_spec("cma:popsize=8", problem, 400, seed=1)
    trace = np.array(problem.trace)
    for target, reached in zip(TARGETS, problem.reached, strict=True):
        hits = np.flatnonzero(trace <= target)
        assert reached == (hits[0] + 1 if len(hits) else np.inf)


def test_ecdf_and_area_of_known_runtimes() -> None:
    table = runtimes(a=[2, 20, 20, np.inf])
    at, share = bbob.ecdf(table)
    np.testing.assert_allclose(at, [1, 10, 100])
    np.testing.assert_allclose(share, [0.25, 0.75, 0.75])
    # f1: all of the axis and half of it; f2: half and nothing.
    np.testing.assert_allclose(bbob.areas(table), [0.75, 0.25])
    table.loc[0, "evaluations"] = 1  # half an evaluation a dimension lies left of the axis
    np.testing.assert_allclose(bbob.areas(table), [0.75, 0.25])


def test_summary_and_comparison() -> None:
    table = runtimes(**{"a": [2, 20, 20, np.inf], "a (bare)": [2, 2, 20, np.inf]})
    summary = bbob.summarize(table)
    assert list(summary["solver"]) == ["a (bare)", "a"]
    assert list(summary["solved"]) == [1, 1]
    assert list(summary["problems"]) == [2, 2]
    np.testing.assert_allclose(summary["area"], [0.625, 0.5])
    (row,) = bbob.compare(table, [Solver("a"), Solver("a", bare=True), Solver("b")]).itertuples()
    assert (row.optimizer, row.identical, row.problems) == ("a", 1, 2)
    assert row.difference == pytest.approx(-0.125)
    assert row.low == pytest.approx(-0.25)
    assert row.high == 0


def test_the_bootstrap_interval_is_that_of_the_mean() -> None:
    values = np.random.default_rng(1).normal(3, 1, size=400)
    mean, low, high = mean_bootstrap(values)
    assert (high - low) / 2 == pytest.approx(1.96 / 20, rel=0.15)
    assert low < mean < high
    assert mean_bootstrap(values) == (mean, low, high)


@pytest.mark.parametrize("function", [2, 7, 20])
def test_cma_does_exactly_what_pycma_does(function: int) -> None:
    pytest.importorskip("cocoex")
    ours, bare = Traced(function, 1, 10), Traced(function, 1, 10)
    bbob.run_spec("cma", ours, 2000, seed=5)
    rng = np.random.default_rng(5)  # the generator of an optimizer with this seed
    settings = {
        "popsize": 40,
        "seed": np.nan,
        "randn": lambda *shape: rng.standard_normal(shape),
        "tolflatfitness": 10,
        "maxfevals": 2000,
        "verbose": -9,
    }
    es = cma.CMAEvolutionStrategy(np.zeros(10), 1, settings)
    while not es.stop():
        candidates = es.ask()
        es.tell(candidates, [bare(candidate) for candidate in candidates])
    assert len(ours.trace) == 2000
    assert ours.trace == bare.trace[:2000]  # pycma makes one generation more


@pytest.mark.parametrize("name", ["OnePlusOne", "TwoPointsDE", "PSO", "CMA"])
def test_nevergrad_does_exactly_what_nevergrad_does(name: str) -> None:
    pytest.importorskip("cocoex")
    ours, bare = Traced(8, 1, 5), Traced(8, 1, 5)
    bbob.run_spec(f"nevergrad:{name}", ours, 300, seed=5)
    np.random.seed(5)
    random.seed(5)
    parametrization = ng.p.Array(init=np.zeros(5)).set_mutation(sigma=1.0)
    parametrization.random_state = np.random.RandomState(5)
    optimizer = ng.optimizers.registry[name](parametrization, budget=300, num_workers=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(300):
            candidate = optimizer.ask()
            optimizer.tell(candidate, bare(candidate.value))
    assert len(ours.trace) == 300
    assert ours.trace == bare.trace


@pytest.mark.parametrize(
    "spec",
    [
        "cma:popsize=8,active=false,step=tpa",
        "cma:popsize=8,restarts=bipop",
        "cma:popsize=8,restarts=ipop",
        "sep-cma:popsize=8,bound=2.4",
        "vkd-cma:popsize=8",
        "nevergrad:OnePlusOne:workers=7,bound=2.4",
    ],
)
def test_the_bare_library_takes_the_options_of_the_spec(spec: str) -> None:
    pytest.importorskip("cocoex")
    problem = Traced(1, 1, 3)
    bbob.run_bare(spec, problem, 200, seed=3)
    assert problem.evaluations >= 200 or problem.solved
    assert problem.trace[-1] < problem.trace[0]
    again = Traced(1, 1, 3)
    bbob.run_bare(spec, again, 200, seed=3)
    assert again.trace == problem.trace


def test_bare_nevergrad_with_workers_agrees_too() -> None:
    pytest.importorskip("cocoex")
    traces = []
    for solver in (Solver("nevergrad:DE:workers=7"), Solver("nevergrad:DE:workers=7", bare=True)):
        problem = Traced(8, 1, 5)
        solver.run(problem, 200, seed=5)
        traces.append(problem.trace)
    assert traces[0] == traces[1]
    assert len(traces[0]) == 200


def test_only_wrappers_have_a_bare_library() -> None:
    pytest.importorskip("cocoex")
    assert bbob.has_bare("cma:popsize=20")
    assert not bbob.has_bare("spsa")
    with pytest.raises(CraftZooError, match=r"'spsa' wraps no library.*sep-cma.*nevergrad"):
        bbob.run_bare("spsa", Problem(1, 1, 2), 100, seed=1)


def test_a_search_that_diverges_ends_without_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cocoex")

    def diverge(self: Any) -> np.ndarray:
        return np.full((1, self.dim), np.inf)

    monkeypatch.setattr(optimizers.RandomSearch, "_ask", diverge)
    problem = Problem(1, 1, 2)
    bbob.run_spec("random", problem, 100, seed=1)
    assert problem.evaluations == 0


@pytest.mark.slow
def test_the_command_writes_its_files_and_runs_nothing_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("cocoex")
    command = [*COMMAND, "--out", str(tmp_path / "out")]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "No bare library to compare with: spsa" in printed
    names = {file.name for file in (tmp_path / "out").iterdir()}
    assert {"ecdf.png", "ecdf.svg", "groups.png", "summary.csv", "config.json"} < names
    assert len([name for name in names if name.startswith("runtimes-")]) == 3
    summary = pd.read_csv(tmp_path / "out" / "summary.csv")
    assert set(summary["solver"]) == {"sep-cma", "sep-cma (bare)", "spsa"}
    assert set(summary["problems"]) == {4}
    assert summary["area"].is_monotonic_decreasing
    before = {name: (tmp_path / "out" / name).read_bytes() for name in names}

    def refuse(*arguments: object, **keywords: object) -> None:
        raise AssertionError("something was run again")

    monkeypatch.setattr("craft_zoo.benchmarks.bbob.suite.ProcessPoolExecutor", refuse)
    assert main(command) == 0
    assert {name: (tmp_path / "out" / name).read_bytes() for name in names} == before
    assert main([*command, "--functions", "1"]) == 0
    assert main([*command, "--budget", "60"]) == 2
    assert "holds runs with a budget of 100, not 120" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--functions", "25"], "no function 25"),
        (["--functions", "a-b"], "--functions 'a-b' cannot be read"),
        (["--functions", "3-1"], "cannot be read"),
        (["--functions", "1,5-3"], "cannot be read"),
        (["--instances", "0"], "no instance 0"),
        (["--dimension", "1"], "2 to 40 dimensions, not 1"),
        (["--dimension", "1000"], "2 to 40 dimensions, not 1000"),
        (["--budget", "1"], "raise budget (--budget)"),
        (["--jobs", "0"], "raise jobs (--jobs)"),
        (["--optimizer", "cmaa"], "did you mean 'cma'"),
        (["--optimizer", "cma:popsize=1000"], "smaller than one generation"),
        (["--optimizer", "nevergrad:Nothing"], "no optimizer 'Nothing'"),
    ],
)
def test_bad_input_is_one_sentence_before_anything_runs(
    changes: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("cocoex")
    assert main([*COMMAND, "--out", str(tmp_path / "out"), *changes]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_without_cocoex_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "cocoex", None)
    assert main([*COMMAND, "--out", str(tmp_path / "out")]) == 2
    assert "pip install 'craft-zoo[bbob]'" in capsys.readouterr().err


def test_overhead_compares_like_with_like(tmp_path: Path) -> None:
    file = tmp_path / "overhead.csv"
    size = ["--dimension", "8", "--popsize", "10", "--blocks", "2", "--generations", "2"]
    overhead.main([*size, "--out", str(file)])
    table = pd.read_csv(file)
    assert len(table) == 7
    assert table["same"].all()
    assert (table["bare"] > 0).all()
