"""Effect of the command line's thread and memory settings, with and without other load."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from craft_zoo.benchmarks.speed.machine import Rows

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
_REPEATS = 3
_RUN = """
import contextlib, time
from craft_zoo import few_shot, load_dataset, load_vlm, tune, tuning
if {many}:
    tuning.one_numpy_thread = contextlib.nullcontext
vlm = load_vlm(cache=False)
task = few_shot(load_dataset("digits"), shots=16, seed=1)
began = time.perf_counter()
tune(vlm, task, budget=2000)
print(time.perf_counter() - began)
"""
_OTHER = """
import torch
torch.set_num_threads(1)
a = torch.randn(1000, 1000)
while True:
    a @ a
"""


def measure_settings() -> Rows:
    """Measure seconds of a run on digits under each setting, alone and beside another process."""
    for beside in (False, True):
        for _ in range(_REPEATS):
            for setting, changes in SETTINGS.items():
                code = _RUN.format(many=setting in (_MANY, _NONE))
                seconds = _run(code, changes, beside)
                yield {"setting": setting, "beside": beside, "seconds": seconds}


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
