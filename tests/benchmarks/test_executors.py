"""Grids in several processes: the same results as in one, even if processes die."""

from __future__ import annotations

import copy
import functools
import json
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from craft_zoo.anchors import Background
from craft_zoo.benchmarks import (
    Bench,
    Point,
    RunSpec,
    RunStore,
    combine,
    cross,
    run_in_processes,
    run_on_ray,
)
from craft_zoo.blackbox import ModelSpec, load_vlm
from craft_zoo.cli import main
from craft_zoo.craft import CraftConfig
from craft_zoo.data import DatasetSpec
from craft_zoo.errors import CraftZooError
from craft_zoo.machine import use_threads
from craft_zoo.openclip import OpenCLIP

OPEN = functools.partial(load_vlm, "craft-mini")


def grid(folder: Path, *, budget: int = 120) -> list[RunSpec]:
    return cross(
        "craft-mini",
        [DatasetSpec(f"folder:{folder}")],
        combine(
            ["craft", "spsa-clip"], ["logit-gn"], CraftConfig(intrinsic_dim=20, discriminant=False)
        ),
        shots=[2],
        seeds=[1, 2],
        budgets=[budget],
    )


def plain(curves: dict[RunSpec, list[Point]]) -> dict[RunSpec, list[Point]]:
    return {run: [replace(point, seconds=0) for point in points] for run, points in curves.items()}


class Heard:
    """A listener that records its calls."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: self.names.append(name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import numpy as np
    from PIL import Image

    root = tmp_path_factory.mktemp("noise") / "noise"
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in ("a", "b", "c"):
            (root / part / name).mkdir(parents=True)
            for i in range(4):
                pixels = rng.integers(0, 256, (40, 40, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(root / part / name / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def serial(
    vlm: OpenCLIP, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[RunSpec, list[Point]]:
    use_threads(1)
    store = RunStore(tmp_path_factory.mktemp("serial"))
    return plain(Bench(vlm, store, in_flight=1).run(grid(folder)))


def killing(find: Callable[[], list[int]], store: RunStore, kills: list[int]) -> threading.Thread:
    """Kills one of the processes that ``find`` returns, once two runs have made queries."""

    def kill() -> None:
        deadline = time.monotonic() + 600  # of a busy machine; Ray's workers have a low priority
        while time.monotonic() < deadline:
            with suppress(FileNotFoundError):  # a run that has just finished
                sizes = [path.stat().st_size for path in store.folder.glob("runs/*/journal")]
                pids = find() if sum(size > 2_000 for size in sizes) > 1 else []
                if pids:
                    os.kill(pids[0], signal.SIGKILL)
                    kills.append(pids[0])
                    return
            time.sleep(0.01)

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


def children() -> list[int]:
    return [child.pid for child in multiprocessing.active_children() if child.pid]


def lost(store: RunStore) -> int:
    records = [json.loads(path.read_text()) for path in store.folder.glob("runs/*/run.json")]
    return sum(record["lost"] for record in records)


@pytest.mark.slow
def test_processes_do_what_one_does_and_outlive_a_killed_one(
    folder: Path, serial: dict[RunSpec, list[Point]], tmp_path: Path
) -> None:
    store, kills, heard = RunStore(tmp_path), [], Heard()
    thread = killing(children, store, kills)
    curves = run_in_processes(
        OPEN, store, grid(folder), jobs=2, threads=1, in_flight=1, listener=heard
    )
    thread.join()
    assert len(kills) == 1
    assert plain(curves) == serial
    assert lost(store) <= 1
    assert heard.names.count("finished") == 4
    assert heard.names.count("started") == 5
    assert not children()
    heard.names.clear()
    again = run_in_processes(OPEN, store, grid(folder), jobs=2, listener=heard)
    assert again == curves
    assert heard.names == ["finished"] * 4


def test_what_fails_in_a_process_is_said(folder: Path, tmp_path: Path) -> None:
    unknown = functools.partial(load_vlm, "ViT-B-33")
    runs = grid(folder)[:2]
    with pytest.raises(CraftZooError, match=r"2 of 2 runs failed.*unknown model 'ViT-B-33'"):
        run_in_processes(unknown, RunStore(tmp_path), runs, jobs=2)
    mistake: Any = functools.partial(int, "no number")
    with pytest.raises(CraftZooError, match=r"2 of 2 runs failed.*ValueError: invalid literal"):
        run_in_processes(mistake, RunStore(tmp_path), runs, jobs=1)
    with pytest.raises(CraftZooError, match="raise jobs"):
        run_in_processes(OPEN, RunStore(tmp_path), runs, jobs=0)


def test_a_run_whose_process_always_dies_is_given_up(folder: Path, tmp_path: Path) -> None:
    dying: Any = functools.partial(os._exit, 3)
    runs = grid(folder)[:1]
    with pytest.raises(CraftZooError, match=r"killed 3 times.*memory"):
        run_in_processes(dying, RunStore(tmp_path), runs, jobs=2)


def small_bench(folder: Path, out: Path) -> list[str]:
    given = ["--budget", "9", "--method", "spsa-clip", "--set", "intrinsic_dim=9", "--shots", "2"]
    return ["bench", "--dataset", f"folder:{folder}", "--out", str(out), *given]


@pytest.mark.parametrize("execute", [functools.partial(run_in_processes, jobs=2), run_on_ray])
def test_finished_runs_of_another_model_are_refused(
    execute: Callable[..., Any], vlm: OpenCLIP, folder: Path, tmp_path: Path
) -> None:
    """Even if no run is left, and where workers do not see the store."""
    pytest.importorskip("ray")
    weights = tmp_path / "weights.pt"

    def opened(content: str) -> OpenCLIP:
        weights.write_text(content)
        found = copy.copy(vlm)
        found._files = [weights]
        return found

    store, runs = RunStore(tmp_path / "store"), grid(folder, budget=20)[:1]
    Bench(opened("first"), store).run(runs)
    with pytest.raises(CraftZooError, match="craft-mini is another model than when"):
        execute(lambda: opened("second"), store, runs)
    assert len(execute(lambda: opened("first"), store, runs)) == 1


@pytest.mark.usefixtures("tiny_craft_mini")
@pytest.mark.parametrize("more", [[], ["--jobs", "2"], ["--dry-run"]])
def test_a_background_of_another_model_is_refused_before_the_first_run(
    more: list[str], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = tuple(f"w{number}" for number in range(20))
    Background("ViT-B-32", 9, words, np.eye(20)).save(tmp_path / "other")
    arguments = ["bench", "--dataset", f"folder:{folder}", "--shots", "2", "--budget", "20"]
    arguments += ["--method", "zero-shot", "--method", "anchors", "--set", "anchors=9"]
    arguments += ["--set", f"background={tmp_path / 'other'}", "--out", str(tmp_path / "out")]
    assert main([*arguments, *more]) == 2
    said = capsys.readouterr()
    assert "is the background of ViT-B-32: make one of craft-mini with" in said.err
    assert "At most" not in said.out
    assert not list(tmp_path.glob("out/**/*.json"))


@pytest.mark.usefixtures("tiny_craft_mini")
def test_so_is_one_of_too_few_words(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Background("craft-mini", 9, ("sea", "sky", "wood"), np.eye(3)).save(tmp_path / "three words")
    arguments = ["bench", "--dataset", f"folder:{folder}", "--shots", "2", "--budget", "20"]
    arguments += ["--method", "zero-shot", "--method", "anchors", "--out", str(tmp_path / "out")]
    assert main([*arguments, "--set", f"background={tmp_path / 'three words'}"]) == 2
    said = capsys.readouterr().err
    assert "256 anchors were asked for and there are 3 words in" in said
    assert "lower the setting anchors, or make it of more words (--words)" in said
    assert not list(tmp_path.glob("out/**/*.json"))


@pytest.mark.parametrize("execute", [functools.partial(run_in_processes, jobs=2), run_on_ray])
def test_so_it_is_in_the_library(
    execute: Callable[..., Any], vlm: OpenCLIP, folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    Background("ViT-B-32", 9, ("sea", "sky", "wood"), np.eye(3)).save(tmp_path / "other")
    config = CraftConfig(background=str(tmp_path / "other"), anchors=2)
    run = replace(grid(folder)[0], method="anchors", optimizer="none", config=config)
    with pytest.raises(CraftZooError, match=r"is the background of ViT-B-32"):
        execute(lambda: vlm, RunStore(tmp_path / "store"), [run])
    assert not list(tmp_path.glob("store/runs/*"))


def test_processes_of_a_bench_open_the_model_once_more_to_check_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [*small_bench(folder, tmp_path), "--seeds", "1", "--threads", "1"]
    assert main(arguments) == 0
    opened = []
    open_model = ModelSpec.open
    monkeypatch.setattr(ModelSpec, "open", lambda spec: opened.append(spec) or open_model(spec))
    assert main([*arguments, "--jobs", "2"]) == 0
    assert len(opened) == 1


def test_bench_takes_jobs(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    arguments = [*small_bench(folder, tmp_path), "--seeds", "2"]
    assert main([*arguments, "--jobs", "2", "--threads", "1"]) == 0
    assert "2 of 2 runs" in capsys.readouterr().out
    assert len(list(tmp_path.glob("runs/*/run.json"))) == 2
    for wrong in (["--jobs", "0"], ["--executor", "slurm"], ["--executor", "ray", "--jobs", "2"]):
        assert main([*arguments, *wrong]) == 2
        assert "craft-zoo: " in capsys.readouterr().err


@pytest.mark.usefixtures("tiny_craft_mini", "undrawn")
def test_points_go_to_tensorboard(folder: Path, tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    arguments = [*small_bench(folder, tmp_path), "--seeds", "1"]
    assert main([*arguments, "--log-to", "tensorboard"]) == 0
    ((run, points, *_),) = RunStore(tmp_path).read_all()[0].values()
    written = events.EventAccumulator(str(tmp_path / "tensorboard" / run.identity))
    written.Reload()
    scalars = [(event.step, event.value) for event in written.Scalars("accuracy")]
    assert scalars == [(p.queries, pytest.approx(p.accuracy)) for p in points]


def ray_workers() -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(b"ray::_remote_run"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.slow
def test_ray_does_what_one_process_does_and_outlives_a_killed_worker(
    folder: Path, serial: dict[RunSpec, list[Point]], tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    store, kills, heard = RunStore(tmp_path), [], Heard()
    thread = killing(ray_workers, store, kills)
    curves = run_on_ray(OPEN, store, grid(folder), in_flight=1, listener=heard)
    thread.join()
    assert len(kills) == 1
    assert plain(curves) == serial
    assert lost(store) <= 1
    assert heard.names.count("finished") == 4
    assert heard.names.count("measured") > 100


@pytest.mark.slow
def test_ray_brings_runs_home_where_workers_do_not_see_the_store(
    folder: Path,
    serial: dict[RunSpec, list[Point]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("ray")
    from craft_zoo.benchmarks import ray_cluster as executor

    mark = uuid.uuid4().hex  # else an earlier test's runs, of earlier code, are found
    monkeypatch.setattr(executor, "_mark", lambda store: mark)
    store, runs = RunStore(tmp_path), grid(folder)[:2]
    curves = run_on_ray(OPEN, store, runs, in_flight=1)
    shutil.rmtree(Path(tempfile.gettempdir()) / f"craft-zoo-{mark}")
    assert plain(curves) == {run: serial[run] for run in runs}
    assert all(store.adapter_path(run).exists() for run in runs)
    with pytest.raises(CraftZooError, match=r"asks for 999 CPUs.*in all"):
        run_on_ray(OPEN, store, grid(folder), cpus=999)


@pytest.mark.slow
def test_a_cluster_that_is_not_there(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    with pytest.raises(CraftZooError, match=r"cluster '127.0.0.1:1' cannot be reached"):
        run_on_ray(OPEN, RunStore(tmp_path), grid(folder), address="127.0.0.1:1")
