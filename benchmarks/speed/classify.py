"""Throughput and latency of a served adapter with and without batching of its clients' requests."""

from __future__ import annotations

import http.client
import json
import tempfile
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from rich.table import Table

from craft_zoo.benchmarks.speed.images import KINDS, write_photographs
from craft_zoo.benchmarks.speed.load import BATCHES, CLIENTS, MODELS, ask_together, random_weights
from craft_zoo.benchmarks.speed.serving import served
from craft_zoo.blackbox import VLM, load_vlm
from craft_zoo.data import few_shot, load_dataset
from craft_zoo.deployed import DeployedAdapter
from craft_zoo.protocol import DIGEST_HEADER, digest, paths
from craft_zoo.tuning import tune

METHOD = "craft-anchors"  # a context for each class, a refiner and anchors
_BUDGET = 30  # of its queries, as the prompt that is found does not change the cost
_KIND = "500x375"
_IMAGES = 64
_TURNS = 2


def measure_classify(
    *,
    models: Sequence[str] = MODELS,
    clients: int = CLIENTS,
    threads: int = 1,
    seconds: float = 8.0,
    console: Console | None = None,
) -> pd.DataFrame:
    """Measure requests of concurrent clients, one image file each, with and without batching.

    Each client has its own key and sends its next image after each response. The images are JPEG
    files of 500×375 pixels, the adapter is one of digits.

    Returns:
        Columns model, max_batch, turn, requests, errors, p50 and p99 (latency, ms), seconds,
        difference (the largest from the probabilities of ``Adapter.predict``), and alone (images a
        second of the opened adapter in one process without a server).
    """
    rows: list[dict[str, Any]] = []
    for model in models:
        with random_weights(model) as weights, tempfile.TemporaryDirectory() as name:
            vlm, file = load_vlm(model, weights), Path(name) / "digits.adapter"
            task = few_shot(load_dataset("digits"), shots=1, seed=1)
            adapter = tune(vlm, task, method=METHOD, budget=_BUDGET).adapter
            adapter.save(file)
            images = write_photographs(Path(name) / "images", KINDS[_KIND], _IMAGES)
            expected = adapter.predict(vlm, images)
            classes = adapter.classnames
            alone = _alone(vlm, DeployedAdapter(adapter, vlm), images, threads)
            for turn, max_batch in product(range(_TURNS), BATCHES):
                options = ["--adapter", str(file), "--max-batch", str(max_batch)]
                options += ["--model", model, *(["--pretrained", weights] if weights else [])]
                with served(clients, options=options, threads=threads) as (url, keys):
                    asking = [
                        _Client(url, key, images, expected, classes, number)
                        for number, key in enumerate(keys)
                    ]
                    ask_together([each.ask for each in asking], seconds)
                times = np.concatenate([each.times for each in asking])
                p50, p99 = np.percentile(times, [50, 99]) * 1000
                errors = sum(len(each.errors) for each in asking)
                difference = max(each.difference for each in asking)
                which = {"model": model, "max_batch": max_batch, "turn": turn}
                counts = {"requests": len(times), "errors": errors, "p50": p50, "p99": p99}
                rows.append(
                    {
                        **which,
                        **counts,
                        "seconds": seconds,
                        "difference": difference,
                        "alone": alone,
                    }
                )
                if console:
                    rate = len(times) / seconds
                    console.print(f"{which}: {rate:.0f} images a second, {errors} errors")
    return pd.DataFrame(rows)


def _alone(vlm: VLM, adapter: DeployedAdapter, images: Sequence[Path], threads: int) -> float:
    """Images a second without a server: the best of three."""
    before, times = torch.get_num_threads(), []
    torch.set_num_threads(threads)
    try:
        for _ in range(3):
            began = time.perf_counter()
            adapter.predict(vlm.images(images, keep=False))
            times.append(time.perf_counter() - began)
    finally:
        torch.set_num_threads(before)
    return len(images) / min(times)


class _Client:
    """Sends image files one after another, and compares the answers with what is expected."""

    def __init__(
        self,
        url: str,
        key: str,
        images: Sequence[Path],
        expected: np.ndarray,
        classes: Sequence[str],
        seed: int,
    ) -> None:
        self._address, self._key = url.removeprefix("http://"), key
        self._files = [path.read_bytes() for path in images]
        self._expected, self._classes = expected, classes
        self._rng = np.random.default_rng(seed)
        self.times: list[float] = []
        self.errors: list[str] = []
        self.difference = 0.0

    def ask(self, until: float) -> None:
        """Send requests until the time ``until`` (of ``perf_counter``)."""
        connection = http.client.HTTPConnection(self._address)
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "image/jpeg"}
        while (began := time.perf_counter()) < until:
            place = int(self._rng.integers(len(self._files)))
            connection.request("POST", paths.CLASSIFY, self._files[place], headers)
            response = connection.getresponse()
            answer = response.read()
            if response.status != 200 or response.headers[DIGEST_HEADER] != digest(answer):
                self.errors.append(answer[:200].decode(errors="replace"))
                continue
            self.times.append(time.perf_counter() - began)
            found = json.loads(answer)["probabilities"]
            row = np.array([found[name] for name in self._classes])
            self.difference = max(self.difference, float(abs(row - self._expected[place]).max()))


def classify_table(measured: pd.DataFrame) -> Table:
    """Table of throughput and latency of each model, and the largest difference."""
    table = Table(
        "model",
        "one by one, images a second (p50, p99 in ms)",
        "in batches",
        "times",
        "model alone",
        "errors",
        "difference",
        box=None,
    )
    for model, rows in measured.groupby("model", sort=False):
        rates, shown = [], []
        for _, some in rows.groupby("max_batch"):
            rates.append(some["requests"].sum() / some["seconds"].sum())
            p50, p99 = some["p50"].median(), some["p99"].max()
            shown.append(f"{rates[-1]:.0f} ({p50:.0f}, {p99:.0f})")
        table.add_row(
            str(model),
            *shown,
            f"{rates[1] / rates[0]:.1f}",
            f"{rows['alone'].iloc[0]:.0f}",
            str(rows["errors"].sum()),
            f"{rows['difference'].max():.0e}",
        )
    return table
