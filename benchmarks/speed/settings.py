"""Effect of the command line's thread and memory settings, with and without other load."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

_KEEP = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1)}
_SPIN = {"GOMP_SPINCOUNT": "10000"}
_MANY, _NONE = "NumPy on all cores", "none of it"
# Environment variables of each setting. Without the command line, the library itself only limits
# NumPy to one thread.
SETTINGS: dict[str, dict[str, str]] = {
    "as the command": _SPIN | _KEEP,
    "OpenMP threads spin as by default": _KEEP,
    "OpenMP threads sleep at once": {"OMP_WAIT_POLICY": "PASSIVE"} | _KEEP,
    "freed memory is given back": _SPIN,
    _MANY: _SPIN | _KEEP,
    _NONE: {},
}
_RUN = """
import contextlib, time
from craft_zoo import few_shot, load_dataset, load_vlm, tune, tuning
if {many}:
    tuning.one_numpy_thread = contextlib.nullcontext
vlm = load_vlm(cache=False)
task = few_shot(load_dataset("digits"), shots=16, seed=1)
began = time.perf_counter()
tune(vlm, task, budget={budget})
print(time.perf_counter() - began)
"""
_OTHER = """
import torch
torch.set_num_threads(1)
a = torch.randn(1000, 1000)
while True:
    a @ a
"""


def measure_settings(
    *, budget: int = 2000, repeats: int = 3, console: Console | None = None
) -> pd.DataFrame:
    """Measure seconds of a run on digits under each setting, alone and beside another process."""
    rows: list[dict[str, Any]] = []
    for beside in (False, True):
        for _ in range(repeats):
            for setting, changes in SETTINGS.items():
                many = setting in (_MANY, _NONE)
                seconds = _run(_RUN.format(budget=budget, many=many), changes, beside)
                rows.append({"setting": setting, "beside": beside, "seconds": seconds})
                if console:
                    console.print(f"{setting}, {'beside' if beside else 'alone'}: {seconds:.1f} s")
    return pd.DataFrame(rows)


def _run(code: str, changes: dict[str, str], beside: bool) -> float:
    ours = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", *_KEEP)
    environment = {key: value for key, value in os.environ.items() if key not in ours} | changes
    other = subprocess.Popen([sys.executable, "-c", _OTHER]) if beside else None
    try:
        if other:
            time.sleep(5)
        run = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return float(run.stdout.split()[-1])
    finally:
        if other:
            other.kill()
            other.wait()


def settings_table(measured: pd.DataFrame) -> Table:
    """Table of the medians over the repeats."""
    table = Table(title="A run of craft on digits, seconds (times the fastest)", box=None)
    for column in ("setting", "alone", "beside another process"):
        table.add_column(column, justify="left" if column == "setting" else "right")
    medians = measured.pivot_table(
        index="setting", columns="beside", values="seconds", aggfunc="median", sort=False
    )
    for setting, row in medians.iterrows():
        cells = [f"{row[b]:.1f} ({row[b] / medians[b].min():.2f})" for b in (False, True)]
        table.add_row(str(setting), *cells)
    return table
