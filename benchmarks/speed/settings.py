"""What the command's settings for threads and memory are worth, alone and beside other work."""

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
# Each as a change of the environment; the run itself is the library's, which sets nothing.
SETTINGS: dict[str, dict[str, str]] = {
    "as the command": {"GOMP_SPINCOUNT": "10000"} | _KEEP,
    "waiting threads spin (default)": _KEEP,
    "waiting threads sleep": {"OMP_WAIT_POLICY": "PASSIVE"} | _KEEP,
    "freed memory given back (default)": {"GOMP_SPINCOUNT": "10000"},
    "neither": {},
}
_RUN = """
import time
from craft_zoo import few_shot, load_dataset, load_vlm, tune
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
    """Seconds of a run on digits, by turns under each setting, alone and beside another process."""
    rows: list[dict[str, Any]] = []
    for beside in (False, True):
        for _ in range(repeats):
            for setting, changes in SETTINGS.items():
                seconds = _run(changes, budget, beside)
                rows.append({"setting": setting, "beside": beside, "seconds": seconds})
                if console:
                    console.print(f"{setting}, {'beside' if beside else 'alone'}: {seconds:.1f} s")
    return pd.DataFrame(rows)


def _run(changes: dict[str, str], budget: int, beside: bool) -> float:
    ours = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", *_KEEP)
    environment = {key: value for key, value in os.environ.items() if key not in ours} | changes
    other = subprocess.Popen([sys.executable, "-c", _OTHER]) if beside else None
    try:
        if other:
            time.sleep(5)
        code = _RUN.format(budget=budget)
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
    """Medians, for people."""
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
