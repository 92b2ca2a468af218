"""``python -m craft_zoo.benchmarks.robustness``: a repeatedly killed grid must resume losslessly.

Runs a grid of 3 tasks, 4 methods and 3 seeds without interruption, then again with ``kill -9`` at
random moments and a restart after each. Both must give the same results, and the model must be
queried once per context, except for contexts in flight at a kill.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from craft_zoo.benchmarks.grid import RunSpec, combine, cross
from craft_zoo.benchmarks.runner import Bench
from craft_zoo.benchmarks.store import RunStore
from craft_zoo.blackbox import DEFAULT_INIT, BlackBox, ImageSet, Prompts, WrappedBlackBox
from craft_zoo.console import open_console
from craft_zoo.craft import CraftConfig
from craft_zoo.data import DatasetSpec
from craft_zoo.machine import use_threads
from craft_zoo.openclip import OpenCLIP

METHODS = ["refine", "craft", "craft-released", "spsa-gc"]
SHOTS, SEEDS = [1, 4, 16], [1, 2, 3]
_LONGEST = 6.0  # longest time in seconds from a process's first query to its kill


class Counting(OpenCLIP):
    """craft-mini that logs each context before querying it.

    Attributes:
        log: file to which one byte per context is appended.
    """

    log: Path

    def classifier(self, classnames: Sequence[str], init: str = DEFAULT_INIT) -> Any:
        return _CountingBox(super().classifier(classnames, init), self.log)


class _CountingBox(WrappedBlackBox):
    def __init__(self, box: BlackBox, log: Path) -> None:
        super().__init__(box)
        self._log = log

    def logits(self, prompts: Prompts, images: ImageSet) -> Iterator[np.ndarray]:
        with open(self._log, "ab", buffering=0) as file:
            file.write(b"." * len(prompts))
        return self._box.logits(prompts, images)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the check.

    Returns:
        The exit code: 0 if results are equal and at most one context per kill was queried twice.
    """
    options = _parser().parse_args(arguments)
    if options.child:
        store, log = map(Path, options.child)
        _run(store, log, options.budget)
        return 0
    console = open_console()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        began = time.perf_counter()
        _begin(folder / "whole", options.budget).wait()
        console.print(f"Undisturbed: {time.perf_counter() - began:.0f} s")
        for kill in range(options.kills):
            process = _begin(folder / "killed", options.budget)
            waited = _wait_for_a_question(process, folder / "killed")
            moment = rng.uniform(0, _LONGEST)
            try:
                process.wait(moment)
                console.print("The grid came to its end before all kills: raise --budget")
                return 1
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
            console.print(f"Kill {kill + 1}: {moment:.1f} s after a question ({waited:.1f} s)")
        if _begin(folder / "killed", options.budget).wait():
            console.print("The last process failed")
            return 1
        return _judge(folder, options.kills, options.budget, console.print)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m craft_zoo.benchmarks.robustness", description=__doc__.split("\n\n")[1]
    )
    parser.add_argument("--kills", type=int, default=20, help="(default: 20)")
    parser.add_argument("--budget", type=int, default=400, help="queries a run (default: 400)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    return parser


def _grid(budget: int) -> list[RunSpec]:
    return cross(
        "craft-mini",
        [DatasetSpec("digits")],
        combine(METHODS, ["logit-gn"], CraftConfig()),
        shots=SHOTS,
        seeds=SEEDS,
        budgets=[budget],
    )


def _run(store: Path, log: Path, budget: int) -> None:
    """Child process that gets killed: executes the grid with one context in flight."""
    use_threads(1)
    model = Counting.load("craft-mini")
    assert isinstance(model, Counting)
    model.log = log
    Bench(model, RunStore(store), in_flight=1).run(_grid(budget))


def _begin(store: Path, budget: int) -> subprocess.Popen[bytes]:
    words = ["--child", str(store), str(_log(store)), "--budget", str(budget)]
    return subprocess.Popen([sys.executable, "-m", "craft_zoo.benchmarks.robustness", *words])


def _log(store: Path) -> Path:
    return store.with_suffix(".log")


def _wait_for_a_question(process: subprocess.Popen[bytes], store: Path) -> float:
    """Wait until the process makes a new query (or ends); returns the seconds waited."""
    log, began = _log(store), time.perf_counter()
    before = log.stat().st_size if log.exists() else 0
    while process.poll() is None and (not log.exists() or log.stat().st_size == before):
        time.sleep(0.01)
    return time.perf_counter() - began


def _judge(folder: Path, kills: int, budget: int, say: Any) -> int:
    stores = [RunStore(folder / name) for name in ("whole", "killed")]
    runs = _grid(budget)
    different = [run.identity for run in runs if len({_result(s, run) for s in stores}) > 1]
    asked = [os.path.getsize(_log(store.folder)) for store in stores]
    lost = sum(_record(stores[1], run)["lost"] for run in runs)
    say(f"Runs: {len(runs)}, of which with another result: {len(different)} {different}")
    say(
        f"Contexts asked about: {asked[0]:,} undisturbed; {asked[1]:,} with {kills} kills, "
        f"{asked[1] - asked[0]} more; counted as lost: {lost}"
    )
    good = not different and asked[1] - asked[0] == lost <= kills
    say("Passed" if good else "FAILED")
    return 0 if good else 1


def _record(store: RunStore, run: RunSpec) -> dict[str, Any]:
    path = store.adapter_path(run).with_name("run.json")
    return json.loads(path.read_text(encoding="utf-8"))


def _result(store: RunStore, run: RunSpec) -> bytes:
    """Points of a finished run without their seconds, and its adapter file."""
    points = [
        {key: value for key, value in point.items() if key != "seconds"}
        for point in _record(store, run)["points"]
    ]
    return json.dumps(points).encode() + store.adapter_path(run).read_bytes()


if __name__ == "__main__":
    sys.exit(main())
