"""What a network between costs, and what a server gains by putting requests together."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from craft_zoo.blackbox import DEFAULT_INIT, VLM, RemoteVLM, load_vlm
from craft_zoo.craft import Step
from craft_zoo.data import ImageSource, Task, few_shot, load_dataset
from craft_zoo.serve.accounts import key_hash
from craft_zoo.tuning import tune
from craft_zoo.wire import DIGEST_HEADER, IDEMPOTENCY_HEADER, digest, encode_array, paths

_PATIENCE = 120.0  # seconds until a server must be there
CLIENTS = 16


@contextmanager
def served(
    accounts: int = 1, *, max_batch: int = 128, threads: int = 1
) -> Iterator[tuple[str, list[str]]]:
    """craft-mini, served by a process of its own on this machine.

    Yields:
        Its address, and a key for each account.
    """
    keys = [f"key-{number}" for number in range(accounts)]
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "keys.json"
        about = {f"account {n}": {"key_sha256": key_hash(key)} for n, key in enumerate(keys)}
        file.write_text(json.dumps(about))
        port = _free_port()
        command = [sys.executable, "-c", "import sys; from craft_zoo.cli import main; main()"]
        command += ["serve", "--port", str(port), "--keys", str(file), "--state", name]
        command += ["--threads", str(threads), "--max-batch", str(max_batch)]
        command += ["--limit", "requests_per_second=100000", "--limit", "burst=100000"]
        with open(Path(name) / "log", "wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            _wait_for(port, process)
            yield f"http://127.0.0.1:{port}", keys
        finally:
            process.terminate()
            process.wait()


def measure_loopback(
    *,
    dataset: str = "digits",
    classnames: str | None = None,
    budget: int = 8000,
    repeats: int = 2,
    console: Console | None = None,
) -> pd.DataFrame:
    """Seconds of ``craft`` in one process and through a server on this machine, by turns.

    Returns:
        Columns where, seconds, and same: whether loss, accuracy and prompt of every step are those
        of the first run, bit for bit.
    """
    task = few_shot(load_dataset(dataset, classnames=classnames), shots=16, seed=1)
    rows: list[dict[str, Any]] = []
    first: list[tuple[object, ...]] | None = None
    with served() as (url, keys):
        local, remote = load_vlm(), RemoteVLM(url, api_key=keys[0])
        for vlm in (local, remote):
            tune(vlm, task, budget=20)  # the images are handed over before
        for _ in range(repeats):
            for where, vlm in (("one process", local), ("a server", remote)):
                began = time.perf_counter()
                steps = _steps(vlm, task, budget)
                seconds = time.perf_counter() - began
                first = first or steps
                rows.append({"where": where, "seconds": seconds, "same": steps == first})
                if console:
                    console.print(f"{where}: {seconds:.1f} s, the same steps: {steps == first}")
    return pd.DataFrame(rows)


def _steps(vlm: VLM, task: Task, budget: int) -> list[tuple[object, ...]]:
    """Every step of a run, to the last bit."""
    steps: list[tuple[object, ...]] = []
    tune(vlm, task, budget=budget, callbacks=[lambda step: steps.append(_bits(step))])
    return steps


def _bits(step: Step) -> tuple[object, ...]:
    prompt = step.solution.prompt
    shown = prompt.tobytes() if isinstance(prompt, np.ndarray) else prompt
    return step.queries, step.loss, step.train_accuracy, shown


def measure_load(
    *,
    clients: int = CLIENTS,
    classes: Sequence[int] = (2, 10),
    threads: int = 1,
    seconds: float = 10.0,
    console: Console | None = None,
) -> pd.DataFrame:
    """Requests of one context each by several clients at once, with and without batching.

    Each client has a key of its own and asks again as soon as it is answered. The images are
    digits, of so many classes.

    Returns:
        Columns classes, max_batch, client, requests, errors, p50 and p99 (milliseconds).
    """
    task = few_shot(load_dataset("digits"), shots=16, seed=1)
    rows: list[dict[str, Any]] = []
    for n_classes, max_batch in product(classes, (1, 128)):
        names, images = task.classnames[:n_classes], task.train.of_classes(list(range(n_classes)))
        with served(clients, max_batch=max_batch, threads=threads) as (url, keys):
            asking = [
                _Client(url, key, names, images.images, number) for number, key in enumerate(keys)
            ]
            until = time.perf_counter() + seconds
            running = [threading.Thread(target=each.ask, args=(until,)) for each in asking]
            for thread in running:
                thread.start()
            for thread in running:
                thread.join()
        for number, each in enumerate(asking):
            p50, p99 = np.percentile(each.times, [50, 99]) * 1000
            counts = {"requests": len(each.times), "errors": len(each.errors)}
            about = {"classes": n_classes, "max_batch": max_batch, "client": number}
            rows.append({**about, **counts, "p50": p50, "p99": p99})
        if console:
            total = sum(len(each.times) for each in asking)
            each_second = f"{total / seconds:.0f} requests a second"
            console.print(f"{n_classes} classes, at most {max_batch} a batch: {each_second}")
    return pd.DataFrame(rows)


class _Client:
    """Asks for scores with as little work of its own as can be, so that the server is measured."""

    def __init__(
        self, url: str, key: str, names: Sequence[str], images: Sequence[ImageSource], seed: int
    ) -> None:
        vlm = RemoteVLM(url, api_key=key)
        self._box = vlm.classifier(names, DEFAULT_INIT)
        self._images = vlm.images(images)
        self._address, self._key = url.removeprefix("http://"), key
        self._path = paths.SCORES.format(id=self._box.id) + f"?images={self._images.id}"
        self._rng = np.random.default_rng(seed)
        self.times: list[float] = []
        self.errors: list[str] = []

    def ask(self, until: float) -> None:
        connection = http.client.HTTPConnection(self._address)
        start = self._box.initial_context
        while (began := time.perf_counter()) < until:
            moved = start + 0.1 * self._rng.standard_normal(start.shape).astype(np.float32)
            body = encode_array(moved[None])
            headers = {
                "Authorization": f"Bearer {self._key}",
                "Content-Type": "application/octet-stream",
                IDEMPOTENCY_HEADER: str(self._rng.integers(2**62)),
                DIGEST_HEADER: digest(body),
            }
            connection.request("POST", self._path, body, headers)
            response = connection.getresponse()
            answer = response.read()
            if response.status == 200 and response.headers[DIGEST_HEADER] == digest(answer):
                self.times.append(time.perf_counter() - began)
            else:
                self.errors.append(answer[:200].decode(errors="replace"))


def load_table(load: pd.DataFrame) -> Table:
    """Of each setting the throughput, latencies and Jain's index of fairness, for people."""
    table = Table(
        "classes", "batches", "requests", "errors", "p50, ms", "p99, ms", "fairness", box=None
    )
    for (n_classes, max_batch), clients in load.groupby(["classes", "max_batch"], sort=False):
        table.add_row(
            str(n_classes),
            "none" if max_batch == 1 else f"of {max_batch} at most",
            f"{clients['requests'].sum():,}",
            str(clients["errors"].sum()),
            f"{clients['p50'].median():.0f}",
            f"{clients['p99'].max():.0f}",
            f"{fairness(clients):.3f}",
        )
    return table


def fairness(load: pd.DataFrame) -> float:
    """Jain's index of the clients' requests: 1 where all have the same, 1 / n where one has all."""
    counts = load["requests"].to_numpy(dtype=float)
    return float(np.sum(counts) ** 2 / (len(counts) * np.sum(np.square(counts))))


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    import httpx

    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until and process.poll() is None:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise RuntimeError("the server did not start")
