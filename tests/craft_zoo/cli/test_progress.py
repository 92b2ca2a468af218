"""The time left that progress bars show."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from craft_zoo.benchmarks import Plan, Point, RunSpec
from craft_zoo.cli.progress import BenchBars, query_progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock of seconds, which the bars read."""
    clock = SimpleNamespace(now=1000.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr("craft_zoo.cli.progress.time", clock)
    return clock


def point(queries: int, seconds: float) -> Point:
    return Point(queries, 0.5, 0.5, 1.0, queries, 0, 0, seconds)


def grid(*methods: str, datasets: str | list[str] = "digits") -> list[RunSpec]:
    plan = {"methods": list(methods), "datasets": datasets, "optimizers": "cma", "budgets": 1000}
    return list(Plan.of(plan | {"shots": 1, "seeds": 2}).runs(look=False))


def shown(bars: BenchBars) -> list[str]:
    """The last column of the grid's bar and of those of runs in progress."""
    progress = bars._progress
    return [str(progress.columns[-1].render(task)) for task in progress.tasks]


def bars_of(runs: list[RunSpec]) -> BenchBars:
    return BenchBars(query_progress(Console(file=io.StringIO())), runs)


def test_slow_and_fast_methods_have_times_of_their_own(clock: SimpleNamespace) -> None:
    runs = grid("prompt", "zip")
    first, second, *slow = sorted(runs, key=lambda run: run.method)
    bars = bars_of(runs)
    bars.started(first)
    assert shown(bars) == ["-:--:--", "-:--:--"]
    bars.measured(first, point(500, 10.0))
    assert shown(bars) == ["-:--:--", "0:00:10"]
    clock.now += 4
    assert shown(bars)[1] == "0:00:06"  # counts down between steps
    bars.finished(first, [point(1000, 20.0)], resumed=False)
    bars.finished(second, [point(1000, 20.0)], resumed=True)
    bars.started(slow[0])
    bars.measured(slow[0], point(10, 60.0))  # steps are further apart than rich remembers
    assert shown(bars) == ["3:19:00", "1:39:00"]
    bars.failed(slow[0], "the model fell over")
    assert shown(bars) == ["1:40:00"]
    bars.started(slow[1])
    bars.finished(slow[1], [point(1000, 5000.0)], resumed=False)
    assert shown(bars) == ["0:00:00"]


def test_a_replayed_journal_makes_no_time_short(clock: SimpleNamespace) -> None:
    first, second = runs = grid("prompt")
    bars = bars_of(runs)
    bars.started(first)
    bars.started(second)
    for queries in range(100, 600, 100):  # at once, with the readings of before the interruption
        bars.measured(first, point(queries, queries / 10))
    assert shown(bars)[1] == "0:00:50"


def test_a_method_takes_on_a_new_task_what_it_took_on_others(clock: SimpleNamespace) -> None:
    runs = grid("prompt", datasets=["digits", "eurosat"])
    bars = bars_of(runs)
    for run in runs[:2]:
        bars.finished(run, [point(1000, 30.0)], resumed=True)
    assert shown(bars) == ["0:01:00"]
