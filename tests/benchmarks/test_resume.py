"""Killed runs resume and end with the results of undisturbed ones; processes share a store."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from craft_zoo import load_vlm
from craft_zoo.benchmarks import Bench, Point, RunSpec, RunStore, combine, cross
from craft_zoo.craft import CraftConfig
from craft_zoo.data import DatasetSpec
from craft_zoo.errors import CraftZooError
from craft_zoo.machine import use_threads
from craft_zoo.openclip import OpenCLIP

METHODS = ["craft", "craft-released", "craft-anchors", "prompt", "spsa-gc", "zip", "blackvip-se"]


@pytest.fixture(scope="session")
def vlm(tiny_vlm: OpenCLIP) -> OpenCLIP:
    return tiny_vlm


def grid(folder: Path, methods: list[str], *, budget: int = 70, seeds: int = 1) -> list[RunSpec]:
    config = CraftConfig(anchors=16, intrinsic_dim=20, discriminant=False)
    return cross(
        "craft-mini",
        [DatasetSpec(f"folder:{folder}")],
        combine(methods, ["logit-gn"], config),
        shots=[2],
        seeds=range(1, seeds + 1),
        budgets=[budget],
    )


def result(store: RunStore, run: RunSpec) -> tuple[list[dict[str, Any]], bytes]:
    """Everything in a finished run that depends only on its description."""
    record = json.loads((store.folder / "runs" / run.identity / "run.json").read_text())
    points = [{k: v for k, v in point.items() if k != "seconds"} for point in record["points"]]
    adapter = store.adapter_path(run)
    return points, adapter.read_bytes() if adapter.exists() else b""


@pytest.mark.parametrize("method", METHODS)
def test_killed_and_begun_again_it_ends_in_the_same(
    method: str, vlm: OpenCLIP, mortal: Any, image_folder: Path, tmp_path: Path
) -> None:
    budget = 25 if method == "blackvip-se" else 70
    (run,) = grid(image_folder, [method], budget=budget)
    whole = RunStore(tmp_path / "whole")
    Bench(vlm, whole, in_flight=1).run([run])
    store = RunStore(tmp_path / "killed")
    deaths = 0
    mortal.left = 2
    while store.load(run) is None:
        try:
            Bench(mortal, store, in_flight=1).run([run])
        except mortal.Died:
            deaths += 1
            mortal.left = 7 * deaths
    assert deaths > 2
    assert result(store, run) == result(whole, run)
    record = json.loads((store.folder / "runs" / run.identity / "run.json").read_text())
    assert record["lost"] == deaths
    assert sorted(os.listdir(store.adapter_path(run).parent)) == sorted(
        os.listdir(whole.adapter_path(run).parent)
    )
    times = [point["seconds"] for point in record["points"]]
    assert times == sorted(times)


def test_the_model_is_asked_once_and_for_what_was_in_flight(
    vlm: OpenCLIP, mortal: Any, image_folder: Path, tmp_path: Path
) -> None:
    (run,) = grid(image_folder, ["craft"])
    Bench(mortal, RunStore(tmp_path / "whole"), in_flight=1).run([run])
    once, mortal.asked, mortal.left = mortal.asked, 0, 33
    bench = Bench(mortal, RunStore(tmp_path / "killed"), in_flight=1)
    with pytest.raises(mortal.Died):
        bench.run([run])
    mortal.left = 10**9
    bench.run([run])
    assert mortal.asked == once + 1


def test_what_a_kill_leaves_behind_a_finished_run_is_removed(
    vlm: OpenCLIP, image_folder: Path, tmp_path: Path
) -> None:
    (run,) = grid(image_folder, ["refine"])
    bench = Bench(vlm, RunStore(tmp_path))
    bench.run([run])
    with bench.store.claim(run) as journal:
        journal.note({})
    bench.run([run])
    assert not journal.path.exists()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (CraftZooError("the model is tired: wait"), "the model is tired"),
        (KeyError("x"), "KeyError: 'x'"),  # a bug of a package's method
    ],
)
def test_a_failing_run_leaves_the_others(
    error: Exception,
    said: str,
    vlm: OpenCLIP,
    image_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs = grid(image_folder, ["zero-shot", "refine", "craft"], budget=1)
    bench = Bench(vlm, RunStore(tmp_path))
    execute = bench._execute

    def failing(run: RunSpec, *rest: Any) -> list[Point]:
        if run.method == "refine":
            raise error
        return execute(run, *rest)

    monkeypatch.setattr(bench, "_execute", failing)
    with pytest.raises(CraftZooError, match=rf"1 of 3 runs failed.*refine.*{said}"):
        bench.run(runs)
    assert [bench.store.load(run) is None for run in runs] == [False, True, False]


def test_a_run_is_stored_though_the_folder_was_removed_meanwhile(
    vlm: OpenCLIP, image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run,) = grid(image_folder, ["zero-shot"])
    bench = Bench(vlm, RunStore(tmp_path / "out"))
    save = bench.store.save

    def removing(*given: Any, **more: Any) -> None:
        shutil.rmtree(tmp_path / "out")
        save(*given, **more)

    monkeypatch.setattr(bench.store, "save", removing)
    assert bench.run([run]) == {run: RunStore(tmp_path / "out").load(run)}


SCRIPT = """
import sys
from pathlib import Path
from craft_zoo import load_vlm
from craft_zoo.benchmarks import Bench, RunStore
from craft_zoo.machine import use_threads
sys.path.insert(0, sys.argv[1])
from test_resume import grid
use_threads(1)
runs = grid(Path(sys.argv[2]), ["craft", "spsa-clip"], seeds=2, budget=200)
Bench(load_vlm("craft-mini"), RunStore(Path(sys.argv[3])), in_flight=1).run(runs)
"""


def begin(folder: Path, out: Path) -> subprocess.Popen[bytes]:
    here = Path(__file__).parent
    command = [sys.executable, "-c", SCRIPT, str(here), str(folder), str(out)]
    return subprocess.Popen(command, stderr=subprocess.PIPE)


@pytest.mark.slow
def test_kill_9(image_folder: Path, tmp_path: Path) -> None:
    """Two processes share a grid and are killed again and again; all is as if they had not been."""
    use_threads(1)
    runs = grid(image_folder, ["craft", "spsa-clip"], seeds=2, budget=200)
    whole, store = RunStore(tmp_path / "whole"), RunStore(tmp_path / "killed")
    # The processes load craft-mini, not the tiny model of the other tests.
    Bench(load_vlm("craft-mini"), whole, in_flight=1).run(runs)
    kills = 0
    while any(store.load(run) is None for run in runs):
        two = [begin(image_folder, store.folder) for _ in range(2)]
        journals = time.monotonic()
        while not list(store.folder.glob("runs/*/journal")) and time.monotonic() < journals + 60:
            time.sleep(0.05)
        if kills < 6:
            time.sleep(0.2 * (1 + kills))
            for process in two:
                process.send_signal(signal.SIGKILL)
            kills += 1
        for process in two:
            _, errors = process.communicate(timeout=120)
            assert process.returncode in (0, -signal.SIGKILL), errors
    assert kills
    for run in runs:
        assert result(store, run) == result(whole, run)
        record = json.loads((store.folder / "runs" / run.identity / "run.json").read_text())
        assert record["lost"] <= kills


@pytest.mark.slow
def test_where_there_is_no_room_the_same_command_goes_on(
    image_folder: Path, tmp_path: Path, start_command: Callable[..., Any]
) -> None:
    """The kernel refuses a file above 10 KB, as it does on a full disk."""
    pytest.importorskip("resource")
    arguments = ["bench", "--dataset", f"folder:{image_folder}", "--method", "refine"]
    arguments += ["--method", "spsa-clip", "--set", "intrinsic_dim=9"]
    arguments += ["--shots", "2", "--seeds", "1", "--budget", "150"]
    arguments += ["--in-flight", "1", "--threads", "1"]
    small = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))"

    def bench(out: Path, first: str = "") -> Any:
        started = start_command([*arguments, "--out", str(out)], first=first)
        started.process.join()
        return started

    out = tmp_path / "out"
    stopped = bench(out, small)
    said = stopped.errors.read_text()
    assert stopped.process.exitcode == 2
    assert "Traceback" not in said
    assert "1 of 2 runs failed, what is finished is kept" in said
    assert "File too large" in said
    ((run, _),) = RunStore(out).read_all()[0].items()
    assert run.method == "refine"
    assert bench(out).process.exitcode == 0
    assert bench(tmp_path / "whole").process.exitcode == 0
    for run in RunStore(out).read_all()[0]:
        assert result(RunStore(out), run) == result(RunStore(tmp_path / "whole"), run)


def _hold(folder: Path, run: RunSpec, held: threading.Event, done: threading.Event) -> None:
    store = RunStore(folder)
    with store.claim(run) as journal:
        held.set()
        done.wait(60)
        time.sleep(0.3)
        store.save(run, [Point(1, 0.5, 0.5, 1.0, 1, 0, 0, 0.1)], None)
        journal.remove()


def test_a_run_of_another_process_is_waited_for_and_not_made_again(
    vlm: OpenCLIP, image_folder: Path, tmp_path: Path
) -> None:
    first, second = grid(image_folder, ["zero-shot", "refine"], budget=1)
    held, done = threading.Event(), threading.Event()  # the lock is on the file, not the process
    other = threading.Thread(target=_hold, args=(tmp_path, first, held, done))
    other.start()
    try:
        assert held.wait(120)
        finished = []

        class Listener:
            def finished(self, run: RunSpec, *_: Any, **__: Any) -> None:
                finished.append(run)
                done.set()

            def __getattr__(self, name: str) -> Any:
                return lambda *_: None

        curves = Bench(vlm, RunStore(tmp_path)).run([first, second], Listener())
    finally:
        done.set()
        other.join()
    assert finished == [second, first]
    assert curves[first][0].accuracy == 0.5
    assert list(curves) == [first, second]


def test_points_are_equal_where_the_same_is_unknown() -> None:
    first, second = (
        Point(1, 0.5, float("nan"), float("nan"), 1, 0, 0, 0.1),
        Point(1, 0.5, float("nan"), float("nan"), 1, 0, 0, 0.1),
    )
    assert first == second
    assert first != replace(first, loss=1.0)
    assert first != 1
