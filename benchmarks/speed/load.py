"""Throughput of a server with and without batching of its clients' requests."""

from __future__ import annotations

import http.client
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pandas as pd
import torch
from rich.console import Console
from rich.table import Table

from craft_zoo import mini
from craft_zoo.anchors import word_list
from craft_zoo.benchmarks.speed.serving import served
from craft_zoo.blackbox import VLM, Question, load_vlm, serving
from craft_zoo.client import RemoteVLM
from craft_zoo.data import ImageSource, few_shot, load_dataset
from craft_zoo.logs import quiet
from craft_zoo.protocol import (
    DIGEST_HEADER,
    IDEMPOTENCY_HEADER,
    digest,
    encode_array,
    paths,
)

CLIENTS = 16
MODELS = (mini.NAME, "ViT-B-32")
TASKS = ("one", "own")
BATCHES = (1, 1024)
_SETTING = ["model", "tasks", "classes"]
_SHOTS = 4
_TURNS = 2


def measure_load(
    *,
    models: Sequence[str] = MODELS,
    clients: int = CLIENTS,
    classes: Sequence[int] = (2, 10),
    threads: int = 1,
    seconds: float = 8.0,
    console: Console | None = None,
) -> pd.DataFrame:
    """Measure one-context requests of concurrent clients, with and without batching.

    Each client has its own key and sends its next request after each response. Clients share one
    task, or each has its own class names and images. The images are digits.

    Returns:
        Columns model, tasks, classes, max_batch, turn, client, requests, errors, p50 and p99
        (latency, ms), seconds, and bound: the model's speed-up from answering all clients'
        requests in one call, in one process without a server (an upper bound on the gain).
    """
    rows: list[dict[str, Any]] = []
    for model, tasks, n_classes in product(models, TASKS, classes):
        given = list(_tasks(tasks, n_classes, clients))
        with random_weights(model) as weights:
            about = {"model": model, "tasks": tasks, "classes": n_classes}
            bound = _bound(load_vlm(model, weights), given, threads)
            for turn, max_batch in product(range(_TURNS), BATCHES):
                options = ["--max-batch", str(max_batch), "--model", model]
                options += ["--pretrained", weights] if weights else []
                with served(clients, options=options, threads=threads) as (url, keys):
                    asking = _ask(url, keys, given, seconds)
                for number, each in enumerate(asking):
                    p50, p99 = np.percentile(each.times, [50, 99]) * 1000
                    counts = {"requests": len(each.times), "errors": len(each.errors)}
                    which = {"max_batch": max_batch, "turn": turn, "client": number}
                    timed = {"p50": p50, "p99": p99, "seconds": seconds, "bound": bound}
                    rows.append({**about, **which, **counts, **timed})
                if console:
                    rate = sum(len(each.times) for each in asking) / seconds
                    console.print(f"{about}, batches of {max_batch}: {rate:.0f} requests a second")
    return pd.DataFrame(rows)


def _tasks(
    tasks: str, n_classes: int, clients: int
) -> Iterator[tuple[Sequence[str], Sequence[ImageSource]]]:
    """Yield class names and images of each client."""
    digits = load_dataset("digits")
    rng = np.random.default_rng(0)
    for client in range(clients):
        task = few_shot(digits, shots=_SHOTS, seed=client if tasks == "own" else 0)
        images = task.train.of_classes(list(range(n_classes))).images
        names: Sequence[str] = task.classnames[:n_classes]
        if tasks == "own":
            names = [str(word) for word in rng.choice(word_list(), n_classes, replace=False)]
        yield names, images


@contextmanager
def random_weights(model: str) -> Iterator[str | None]:
    """Yield a file of random weights, which don't change the cost; None for craft-mini."""
    with nullcontext() if model == mini.NAME else tempfile.TemporaryDirectory() as folder:
        if folder is None:
            yield None
            return
        path = Path(folder) / "weights.pt"
        torch.manual_seed(0)
        with quiet():
            torch.save(open_clip.create_model(model).state_dict(), path)
        yield str(path)


def _bound(
    vlm: VLM, tasks: Sequence[tuple[Sequence[str], Sequence[ImageSource]]], threads: int
) -> float:
    """Speed-up of the model from answering all requests in one call."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        questions = []
        for seed, (names, images) in enumerate(tasks):
            box = vlm.classifier(names)
            contexts = _moved(box.initial_context, np.random.default_rng(seed))
            questions.append(Question(box, contexts, vlm.images(images)))
        times: dict[bool, list[float]] = {True: [], False: []}
        for together in (True, False) * 8:
            began = time.perf_counter()
            for some in [questions] if together else [[question] for question in questions]:
                serving(vlm).answer(some)
            times[together].append(time.perf_counter() - began)
        return float(np.median(times[False]) / np.median(times[True]))
    finally:
        torch.set_num_threads(before)


def _ask(
    url: str,
    keys: Sequence[str],
    tasks: Sequence[tuple[Sequence[str], Sequence[ImageSource]]],
    seconds: float,
) -> list[_Client]:
    """Let all clients send requests for ``seconds``, and return them."""
    asking = [
        _Client(url, key, *task, number)
        for number, (key, task) in enumerate(zip(keys, tasks, strict=True))
    ]
    ask_together([each.ask for each in asking], seconds)
    return asking


def ask_together(clients: Sequence[Callable[[float], None]], seconds: float) -> None:
    """Let all clients send requests for ``seconds``, each in a thread.

    Args:
        clients: functions that send requests until a time (of ``perf_counter``).
        seconds: duration.
    """
    until = time.perf_counter() + seconds
    running = [threading.Thread(target=ask, args=(until,)) for ask in clients]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


def _moved(start: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random context near ``start``, (1, n_ctx, dim) float32."""
    return (start + 0.1 * rng.standard_normal(start.shape))[None].astype(np.float32)


class _Client:
    """Minimal client for score requests, so that its own work hardly affects the measurement."""

    def __init__(
        self, url: str, key: str, names: Sequence[str], images: Sequence[ImageSource], seed: int
    ) -> None:
        vlm = RemoteVLM(url, api_key=key)
        self._box = vlm.classifier(names)
        (id,) = vlm.images(images).ids
        self._address, self._key = url.removeprefix("http://"), key
        self._path = paths.SCORES.format(id=self._box.id) + f"?images={id}"
        self._rng = np.random.default_rng(seed)
        self.times: list[float] = []
        self.errors: list[str] = []

    def ask(self, until: float) -> None:
        """Send requests one after another until the time ``until`` (of ``perf_counter``)."""
        connection = http.client.HTTPConnection(self._address)
        start = self._box.initial_context
        while (began := time.perf_counter()) < until:
            body = encode_array(_moved(start, self._rng))
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
    """Table of throughput, latency and Jain's fairness index of each setting."""
    table = Table(
        "model",
        "tasks",
        "classes",
        "one by one, a second (p50, p99 in ms)",
        "in batches",
        "times",
        "model alone",
        "errors",
        "fairness",
        box=None,
    )
    for (model, tasks, n_classes), rows in load.groupby(_SETTING, sort=False):
        rates, shown = [], []
        for _, some in rows.groupby("max_batch"):
            rates.append(
                some["requests"].sum() / (some["seconds"].iloc[0] * some["turn"].nunique())
            )
            p50, p99 = some["p50"].median(), some["p99"].max()
            shown.append(f"{rates[-1]:.0f} ({p50:.0f}, {p99:.0f})")
        table.add_row(
            model,
            tasks,
            str(n_classes),
            *shown,
            f"{rates[1] / rates[0]:.1f}",
            f"{rows['bound'].iloc[0]:.1f}",
            str(rows["errors"].sum()),
            f"{min(fairness(some) for _, some in rows.groupby(['max_batch', 'turn'])):.3f}",
        )
    return table


def fairness(load: pd.DataFrame) -> float:
    """Jain's fairness index of the clients' requests, from 1 / n (one has all) to 1 (all equal)."""
    counts = load["requests"].to_numpy(dtype=float)
    return float(np.sum(counts) ** 2 / (len(counts) * np.sum(np.square(counts))))
