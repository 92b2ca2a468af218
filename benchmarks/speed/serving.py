"""Local server for benchmarks, and the overhead of querying a model through it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from craft_zoo.benchmarks.speed.machine import Rows
from craft_zoo.blackbox import VLM, load_vlm
from craft_zoo.client import RemoteVLM
from craft_zoo.craft import Step
from craft_zoo.data import Task, few_shot, load_dataset
from craft_zoo.server.accounts import key_hash
from craft_zoo.tuning import tune

_START_TIMEOUT = 120.0  # seconds


@contextmanager
def served(accounts: int, options: Sequence[str] = ()) -> Iterator[tuple[str, list[str]]]:
    """Serve a model from a separate process with as many threads as PyTorch has here.

    Args:
        accounts: number of accounts.
        options: further options of ``craft-zoo serve``; the default model is craft-mini.

    Yields:
        The server's address, and one key per account.
    """
    keys = [f"key-{number}" for number in range(accounts)]
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "keys.json"
        about = {f"account {n}": {"key_sha256": key_hash(key)} for n, key in enumerate(keys)}
        file.write_text(json.dumps(about))
        log = Path(name) / "log"
        command = [sys.executable, "-c", "import sys; from craft_zoo.cli import main; main()"]
        command += ["serve", "--port", "0", "--keys", str(file), "--state", name]
        command += ["--threads", str(torch.get_num_threads()), *options]
        command += ["--limit", "requests_per_second=100000", "--limit", "burst=100000"]
        with log.open("wb") as written:
            process = subprocess.Popen(command, stdout=written, stderr=written)
        try:
            yield _address(log, process), keys
        finally:
            process.terminate()
            process.wait()


def measure_loopback(
    dataset: str, *, classnames: str | None = None, budget: int = 8000, repeats: int = 2
) -> Rows:
    """Measure ``craft`` in one process and through a server on this machine.

    ``same`` of a row is whether loss, accuracy and prompt of every step equal those of the first
    run bit for bit, which requires the same number of threads on both sides.
    """
    task = few_shot(load_dataset(dataset, classnames=classnames), shots=16, seed=1)
    first: list[tuple[object, ...]] | None = None
    with served(1) as (url, keys):
        local, remote = load_vlm(), RemoteVLM(url, api_key=keys[0])
        for vlm in (local, remote):
            tune(vlm, task, budget=20)  # encodes or uploads the images before the measurement
        for _ in range(repeats):
            for where, vlm in (("one process", local), ("a server", remote)):
                began = time.perf_counter()
                steps = _steps(vlm, task, budget)
                seconds = time.perf_counter() - began
                first = first or steps
                yield {"where": where, "seconds": seconds, "same": steps == first}


def _steps(vlm: VLM, task: Task, budget: int) -> list[tuple[object, ...]]:
    """Every step of a run, for comparison bit for bit."""
    steps: list[tuple[object, ...]] = []

    def keep(step: Step) -> None:
        prompt = np.asarray(step.solution.prompt).tobytes()
        steps.append((step.queries, step.loss, step.train_accuracy, prompt))

    tune(vlm, task, budget=budget, callbacks=[keep])
    return steps


def _address(log: Path, process: subprocess.Popen[bytes]) -> str:
    """The address that a server prints once it has started."""
    until = time.monotonic() + _START_TIMEOUT
    while time.monotonic() < until and process.poll() is None:
        if found := re.search(r"^Serving .* at (http\S+)$", log.read_text(), re.MULTILINE):
            return found[1]
        time.sleep(0.2)
    raise RuntimeError(f"the server did not start: {log.read_text()[-500:]}")
