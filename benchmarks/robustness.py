"""``python -m craft_zoo.benchmarks.robustness``: a repeatedly killed grid must resume losslessly.

Runs a grid of 3 tasks, 4 methods and 3 seeds without interruption, then again with ``kill -9`` at
random moments and a restart after each. Both must give the same results, and the model must be
queried once per context, except for contexts in flight at a kill.
"""

from __future__ import annotations

import argparse
import json
import random
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
    parser = argparse.ArgumentParser(
        prog="python -m craft_zoo.benchmarks.robustness", description=__doc__.split("\n\n")[1]
    )
    parser.add_argument("--kills", type=int, default=20, help="(default: 20)")
    parser.add_argument("--budget", type=int, default=400, help="queries a run (default: 400)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    runs = cross(
        "craft-mini",
        [DatasetSpec("digits")],
        combine(METHODS, ["logit-gn"], CraftConfig()),
        shots=SHOTS,
        seeds=SEEDS,
        budgets=[options.budget],
    )
    if options.child:
        _run(options.child, runs)
        return 0
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        whole, killed = Path(name) / "whole", Path(name) / "killed"
        _begin(whole, options.budget).wait()
        for kill in range(options.kills):
            process = _begin(killed, options.budget)
            before = _contexts(killed)
            while process.poll() is None and _contexts(killed) == before:
                time.sleep(0.01)
            moment = rng.uniform(0, _LONGEST)
            try:
                process.wait(moment)
                print("The grid finished before all kills: raise --budget")
                return 1
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            print(f"Kill {kill + 1}: {moment:.1f} s after a query")
        if _begin(killed, options.budget).wait():
            print("The last process failed")
            return 1
        different = [run.identity for run in runs if _result(whole, run) != _result(killed, run)]
        lost = sum(_record(killed, run)["lost"] for run in runs)
        asked, again = _contexts(whole), _contexts(killed) - _contexts(whole)
    print(f"Runs: {len(runs)}, of which with another result: {len(different)} {different}")
    print(f"Contexts queried: {asked:,} undisturbed, {again} more with {options.kills} kills;")
    print(f"counted as lost: {lost}")
    good = not different and again == lost <= options.kills
    print("Passed" if good else "FAILED")
    return 0 if good else 1


def _run(folder: Path, runs: list[RunSpec]) -> None:
    """Child process that gets killed: executes the grid with one context in flight."""
    use_threads(1)
    model = Counting.load("craft-mini")
    assert isinstance(model, Counting)
    model.log = _log(folder)
    Bench(model, RunStore(folder), in_flight=1).run(runs)


def _begin(folder: Path, budget: int) -> subprocess.Popen[bytes]:
    words = ["--child", str(folder), "--budget", str(budget)]
    return subprocess.Popen([sys.executable, "-m", "craft_zoo.benchmarks.robustness", *words])


def _log(folder: Path) -> Path:
    return folder.with_suffix(".log")


def _contexts(folder: Path) -> int:
    """Number of contexts that a grid has queried so far."""
    return _log(folder).stat().st_size if _log(folder).exists() else 0


def _record(folder: Path, run: RunSpec) -> dict[str, Any]:
    path = folder / "runs" / run.identity / "run.json"
    return json.loads(path.read_text(encoding="utf-8"))


def _result(folder: Path, run: RunSpec) -> tuple[list[dict[str, Any]], bytes]:
    """Points of a finished run without their seconds, and its adapter file."""
    points = [point | {"seconds": 0} for point in _record(folder, run)["points"]]
    return points, RunStore(folder).adapter_path(run).read_bytes()


if __name__ == "__main__":
    sys.exit(main())
