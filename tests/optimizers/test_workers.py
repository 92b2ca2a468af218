"""Evaluations that run at the same time, fail, and continue from a record."""

from __future__ import annotations

import functools
import json
import math
import multiprocessing
import os
import resource
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from craft_zoo.optimizers import Choice, Integer, OptimizerError, Real, Result, minimize
from craft_zoo.optimizers.record import Record

SPEC = "cma:popsize=6"


def sphere(x: np.ndarray) -> float:
    return float(((x - 0.5) ** 2).sum())


class Slow:
    """The sphere function, which takes a random time, and counts its calls.

    The first ``together`` calls end when as many have begun, however busy the machine is.
    """

    def __init__(self, mean: float = 0.001, together: int = 1) -> None:
        self.mean, self.calls, self.running, self.most = mean, 0, 0, 0
        self._lock, self._rng = threading.Lock(), np.random.default_rng(0)
        self._first = threading.Barrier(together)

    def __call__(self, x: np.ndarray) -> float:
        with self._lock:
            self.calls += 1
            self.running += 1
            self.most = max(self.most, self.running)
            seconds = self._rng.exponential(self.mean)
            is_first = self.calls <= self._first.parties
        if is_first:
            self._first.wait(30)
        time.sleep(seconds)
        with self._lock:
            self.running -= 1
        return sphere(x)


def same(a: Result, b: Result) -> None:
    """Both are the same search, bit for bit."""
    assert a.history.equals(b.history)
    assert (a.loss, a.violation, a.seed) == (b.loss, b.violation, b.seed)
    assert np.array_equal(a.x, b.x)
    assert np.array_equal(a.recommended, b.recommended)
    one, other = a._optimizer.state(), b._optimizer.state()
    assert one.keys() == other.keys()
    for name, array in one.items():
        assert np.array_equal(array, other[name], equal_nan=array.dtype.kind == "f")


@pytest.mark.parametrize("optimizer", ["auto", SPEC, "spsa", "powell"])
def test_workers_never_idle_and_the_budget_is_kept(optimizer: str) -> None:
    f = Slow(together=8)
    result = minimize(f, [0.0] * 3, budget=120, optimizer=optimizer, workers=8, seed=1)
    assert (f.calls, f.most, f.running) == (120, 8, 0)
    assert (result.evaluations, result._optimizer.evaluations) == (120, 120)
    assert result.reason == "the budget of 120 is spent"
    assert result.extend(30).evaluations == f.calls == 150


def test_a_late_candidate_holds_up_no_other() -> None:
    gate = threading.Event()
    calls = iter(range(100))

    def f(x: np.ndarray) -> float:
        if next(calls) == 1:
            assert gate.wait(30)
        return sphere(x)

    def open_at_the_end(result: Result) -> None:
        if result.evaluations == 39:
            gate.set()

    result = minimize(
        f, [0.0] * 3, budget=40, optimizer=SPEC, workers=2, seed=1, callback=open_at_the_end
    )
    assert result.evaluations == 40


def test_mixed_variables_and_constraints_with_workers(tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "space": {"n": Integer(0, 9), "y": Real(0, 9), "kind": Choice([max, min])},
        "constraints": lambda p: 7.5 - p["n"] - p["y"],
        "budget": 150,
        "workers": 4,
        "record": tmp_path / "record.jsonl",
    }
    result = minimize(lambda p: p["n"] + 2 * p["y"] + (p["kind"] is max), **given)
    assert result.violation == 0
    same(minimize(None.__class__, **given), result)  # f is not called


def fails_at_times(x: np.ndarray, folder: Path, always: bool) -> float:
    """Raises in the first call of every third point, or in all of them."""
    mark = folder / f"{abs(hash(x.tobytes()))}"
    if int(x[0] * 1e6) % 3 == 0 and (always or not mark.exists()):
        mark.touch()
        raise ConnectionError("the instrument is off")
    return sphere(x)


@pytest.mark.parametrize("workers", [None, 4])
def test_failures_are_tried_again_and_then_told_as_failed(
    workers: int | None, tmp_path: Path
) -> None:
    given: dict[str, Any] = {"budget": 60, "optimizer": SPEC, "seed": 1, "workers": workers}
    f = functools.partial(fails_at_times, folder=tmp_path, always=False)
    result = minimize(f, [0.0] * 2, retries=1, **given)
    assert list(tmp_path.iterdir())
    assert result.history["loss"].notna().all()
    assert "error" not in result.history

    record = tmp_path / "record.jsonl"
    f = functools.partial(fails_at_times, folder=tmp_path, always=True)
    result = minimize(f, [0.0] * 2, retries=0, record=record, **given)
    failed = result.history["loss"].isna()
    assert 0 < failed.sum() < 60 == result.evaluations
    assert (result.history["error"][failed] == "ConnectionError: the instrument is off").all()
    assert result.history["error"][~failed].isna().all()
    same(minimize(sphere, [0.0] * 2, retries=0, record=record, **given), result)

    with pytest.raises(ConnectionError) as caught:
        minimize(f, [0.0] * 2, **given)
    partial: Result = caught.value.result  # type: ignore[attr-defined]
    assert partial.evaluations < 60
    assert partial.extend(f=sphere).evaluations == 60


def dies(x: np.ndarray, folder: Path, always: bool) -> float:
    """Kills its process in the tenth call; or at every seventh point."""
    mark = folder / "died"
    calls = folder / "calls"
    with calls.open("a") as file:
        file.write(".")
    if (
        int(abs(x[0]) * 1e6) % 7 == 0
        if always
        else (calls.stat().st_size >= 10 and not mark.exists())
    ):
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(float(abs(x[0])) % 0.01)
    return sphere(x)


FORK = multiprocessing.get_context("fork")


@pytest.mark.parametrize(
    ("workers", "always"),
    [
        (2, False),
        pytest.param(8, False, marks=pytest.mark.slow),
        pytest.param(8, True, marks=pytest.mark.slow),
    ],
)
def test_a_worker_that_is_killed_loses_nothing(workers: int, always: bool, tmp_path: Path) -> None:
    record = tmp_path / "record.jsonl"
    given: dict[str, Any] = {
        "budget": 60,
        "optimizer": SPEC,
        "seed": 1,
        "workers": workers,
        "retries": 1,
        "record": record,
    }
    result = minimize(
        functools.partial(dies, folder=tmp_path, always=always),
        [0.1] * 2,
        executor=functools.partial(ProcessPoolExecutor, workers, mp_context=FORK),
        **given,
    )
    assert (tmp_path / "died").exists()
    assert result.evaluations == result._optimizer.evaluations == 60
    table = result.history
    if always:
        errors = table["error"][table["loss"].isna()]
        assert errors.str.startswith("BrokenProcessPool").all()
        assert 0 < len(errors) < 30
    else:
        assert table["loss"].notna().all()
    same(minimize(dies, [0.1] * 2, **given), result)


def test_an_executor_of_yours_that_dies_is_named(tmp_path: Path) -> None:
    f = functools.partial(dies, folder=tmp_path, always=False)
    with (
        ProcessPoolExecutor(2, mp_context=FORK) as executor,
        pytest.raises(Exception, match="terminated abruptly") as caught,
    ):
        minimize(f, [0.0], budget=40, optimizer=SPEC, workers=2, executor=executor, retries=3)
    partial: Result = caught.value.result  # type: ignore[attr-defined]
    assert 0 < partial.evaluations < 40
    with ThreadPoolExecutor(2) as other:
        assert partial.extend(executor=other, f=sphere).evaluations == 40


@pytest.mark.slow
def test_executors_of_joblib_and_ray() -> None:
    loky = pytest.importorskip("joblib.externals.loky")
    given: dict[str, Any] = {"budget": 30, "optimizer": SPEC, "workers": 2, "seed": 1}
    executor = functools.partial(loky.get_reusable_executor, 2)
    assert minimize(sphere, [0.0] * 2, executor=executor, **given).evaluations == 30
    ray = pytest.importorskip("ray")

    class OnRay:
        def submit(self, f: Any, x: Any) -> Any:
            return ray.remote(f).remote(x).future()

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        assert minimize(sphere, [0.0] * 2, executor=OnRay(), **given).evaluations == 30
    finally:
        ray.shutdown()


def interrupted(f: Callable[[np.ndarray], float], call: int) -> Callable[[np.ndarray], float]:
    calls = iter(range(1, 10**6))

    def g(x: np.ndarray) -> float:
        if next(calls) == call:
            raise KeyboardInterrupt
        return f(x)

    return g


@pytest.mark.parametrize(
    ("optimizer", "noisy"),
    [
        (SPEC, False),
        (SPEC, True),
        ("auto", False),
        ("spsa", False),
        ("nevergrad:OnePlusOne", False),
    ],
)
@pytest.mark.parametrize("workers", [None, 8])
def test_a_search_continues_from_its_record(
    optimizer: str, noisy: bool, workers: int | None, tmp_path: Path
) -> None:
    record = tmp_path / "record.jsonl"
    given: dict[str, Any] = {"budget": 70, "optimizer": optimizer, "workers": workers}
    given["noisy"] = noisy
    f = Slow(0.0002)
    for call in (9, 17, 1, *([None] if noisy else [])):
        if call is None:  # in the comparison of the last 7 evaluations
            call = 70 - record.read_bytes().count(b'"n"') - 3
        with pytest.raises(KeyboardInterrupt):
            minimize(interrupted(f, call), [0.0] * 3, record=record, **given)
        with record.open("a") as file:
            file.write('{"n": 3, "x": [0.1, 0.')  # as if killed while writing
    before = record.read_bytes().count(b"\n") - 1
    # An interruption does not wait for the other workers: their evaluations may be lost.
    least = 8 + 16 if workers is None else (9 - workers) + (17 - workers)
    assert least <= before < 70
    f = Slow(0.0002)  # as threads of before may still call the other one
    result = minimize(f, [0.0] * 3, record=record, **given)
    assert result.evaluations == 70 == before + f.calls
    result.extend(20)
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    assert sorted(line["n"] for line in lines if "n" in line) == list(range(90))
    f.calls = 0
    again = minimize(f, [0.0] * 3, record=record, **given)
    if again.evaluations == 70:
        again.extend()
    assert f.calls == 0
    same(again, result)
    if workers is None:  # without interruptions it is the same search
        whole = minimize(sphere, [0.0] * 3, seed=result.seed, **given).extend(20)
        assert whole.history["loss"].equals(result.history["loss"])


def search(record: Path) -> Result:
    return minimize(
        Slow(0.004), [0.0] * 3, budget=150, optimizer=SPEC, workers=8, record=record, seed=1
    )


def test_kill_9_loses_no_evaluation(tmp_path: Path) -> None:
    record = tmp_path / "record.jsonl"
    for least in (20, 60, 110):
        process = FORK.Process(target=search, args=(record,))
        process.start()
        while process.is_alive() and not (
            record.exists() and record.read_bytes().count(b"\n") > least
        ):
            time.sleep(0.005)
        process.kill()
        process.join()
    kept = record.read_bytes()
    kept = kept[: kept.rfind(b"\n") + 1]
    assert 110 < kept.count(b"\n") < 151
    result = search(record)
    assert record.read_bytes().startswith(kept)
    assert result.evaluations == result._optimizer.evaluations == 150
    same(search(record), result)


def test_ends_with_workers_and_their_record(tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "budget": 300,
        "optimizer": SPEC,
        "workers": 8,
        "record": tmp_path / "record.jsonl",
        "target": 0.05,
    }
    f = Slow(0.002)
    result = minimize(f, [0.0] * 3, **given)
    assert result.reason == "the target of 0.05 is reached"
    assert result.evaluations == f.calls < 300
    same(minimize(f, [0.0] * 3, **given), result)
    assert result.extend().evaluations == 300
    same(minimize(f, [0.0] * 3, **given).extend(), result)
    late = minimize(f, [0.0], budget=10**6, workers=2, seconds=0.1)
    assert late.reason == "0.1 seconds are over"
    assert 0 < late.evaluations == late._optimizer.evaluations


def test_a_search_that_has_converged_ends_though_candidates_were_asked_ahead(
    tmp_path: Path,
) -> None:
    given: dict[str, Any] = {"optimizer": "cma", "workers": 3, "record": tmp_path / "record.jsonl"}
    result = minimize(lambda x: 1e150 * sphere(x), [0.0] * 2, budget=2000, **given)
    assert result.reason.startswith("pycma has converged")
    assert result.evaluations < 2000
    same(minimize(sphere, [0.0] * 2, budget=2000, seed=result.seed, **given), result)


@pytest.mark.parametrize("workers", [1, 3])
def test_an_extension_within_a_generation(workers: int, tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "budget": 30,
        "optimizer": SPEC,
        "workers": workers,
        "record": tmp_path / "record.jsonl",
        "callback": lambda result: result.evaluations == 9,
    }
    result = minimize(sphere, [0.0] * 2, **given)
    assert result.evaluations < 12
    assert result.extend(5).evaluations == 35
    same(minimize(sphere, [0.0] * 2, **given).extend(), result)


def test_no_progress_ends_a_search() -> None:
    steps = iter([3.0, 2.0, 2.0, 5.0, 1.9] + 99 * [2.0])
    result = minimize(
        lambda x: next(steps), [0.0] * 2, budget=90, optimizer="powell", stagnation=10
    )
    assert result.reason == "10 evaluations brought no progress"
    assert (result.evaluations, result.loss) == (15, 1.9)
    assert result.extend().evaluations == 25


@pytest.mark.parametrize("workers", [None, 8])
def test_the_record_of_a_search_that_ended_and_went_on(workers: int | None, tmp_path: Path) -> None:
    given: dict[str, Any] = {
        "budget": 90,
        "optimizer": SPEC,
        "workers": workers,
        "record": tmp_path / "record.jsonl",
        "stagnation": 9,
    }
    result = minimize(lambda x: abs(float(x[0]) - 9), [0.0] * 2, **given)
    ends = []
    while len(ends) < 3:
        ends.append(result.evaluations)
        result.extend()
    again = minimize(sphere, [0.0] * 2, **given)
    for end in ends:
        assert again.evaluations == end
        again.extend()
    same(again, result)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"workers": 0}, "workers must be a whole number, at least 1"),
        ({"retries": -1}, "retries must be a whole number, at least 0"),
        ({"stagnation": 0}, "stagnation must be a whole number, at least 1"),
        ({"executor": 3}, "executor must have a method submit, or be a function"),
        ({"record": 3}, "record 3 cannot be read"),
        ({"record": "."}, "cannot be read"),
        ({"record": "x", "output_loss": lambda r: (0, r), "optimizer": "logit-gn"}, "record cann"),
    ],
)
def test_what_is_wrong_is_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(OptimizerError, match=message):
        minimize(sphere, [0.0], **{"budget": 30} | given)


def test_a_record_of_something_else_is_refused(tmp_path: Path) -> None:
    record = tmp_path / "record.jsonl"
    given: dict[str, Any] = {"budget": 30, "optimizer": SPEC, "record": record, "seed": 1}
    minimize(sphere, [0.0], **given)
    for other, message in [
        ({"budget": 40}, "whose budget is 30, not 40: give another path, or that budget"),
        ({"seed": 2}, "whose seed is 1, not 2"),
        ({"workers": 2}, "whose workers is None, not 2"),
        ({"x0": [1.0]}, "evaluation 1 was of another point"),
        ({"constraints": lambda x: x[0]}, "or with other constraints"),
    ]:
        with pytest.raises(OptimizerError, match=message):
            minimize(sphere, **{"x0": [0.0]} | given | other)
    for text in ("not JSON\n", '{"n": 1}\n', "[]\n"):
        record.write_text(text)
        with pytest.raises(OptimizerError, match="cannot be read"):
            minimize(sphere, [0.0], **given)
    assert math.isfinite(minimize(sphere, [0.0], **given | {"record": tmp_path / "new"}).loss)
    with pytest.raises(OptimizerError, match=r"cannot be written .*: give another path"):
        minimize(sphere, [0.0], **given | {"record": tmp_path / "none" / "new"})


def test_a_line_that_a_full_disk_takes_in_part_does_not_spoil_the_next(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    record = Record(path)
    record.write({"search": {}})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 5, before[1]))
        with pytest.raises(OptimizerError, match="record cannot be written"):
            record.write({"loss": 1.0})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    record.write({"loss": 2.0})
    assert Record(path).take() == {"loss": 2.0}
