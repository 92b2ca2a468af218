"""Throughput and latency of a server with and without batching of its clients' requests.

Each client has its own key and sends its next request after each response. The rows of a
measurement have the columns max_batch, turn, client, requests, errors, p50 and p99 (latency, ms)
and seconds, besides those that the functions name.
"""

from __future__ import annotations

import http.client
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pandas as pd
import torch

from craft_zoo import mini
from craft_zoo.anchors import word_list
from craft_zoo.benchmarks.speed.images import KINDS, write_photographs
from craft_zoo.benchmarks.speed.machine import Rows, fastest
from craft_zoo.benchmarks.speed.serving import served
from craft_zoo.blackbox import VLM, Question, load_vlm, serving
from craft_zoo.client import RemoteVLM
from craft_zoo.data import ImageSource, few_shot, load_dataset
from craft_zoo.deployed import DeployedAdapter
from craft_zoo.logs import quiet
from craft_zoo.protocol import DIGEST_HEADER, IDEMPOTENCY_HEADER, digest, encode_array, paths
from craft_zoo.tuning import tune

MODELS = (mini.NAME, "ViT-B-32")
_CLIENTS = 16
_SECONDS = 8.0
_BATCHES = (1, 1024)
_TURNS = 2
_SETTING = ("model", "tasks", "classes")  # columns of what is not repeated

_Given = tuple[Sequence[str], Sequence[ImageSource]]  # class names and images of a client


class _Client:
    """Sends requests, with so little work that it hardly affects the measurement."""

    def __init__(self, url: str, key: str, number: int) -> None:
        self._address, self._key = url.removeprefix("http://"), key
        self._rng = np.random.default_rng(number)
        self.times: list[float] = []
        self.errors = 0
        self.found: dict[str, float] = {}  # further columns

    def ask(self, until: float) -> None:
        """Send requests one after another until the time ``until`` (of ``perf_counter``)."""
        connection = http.client.HTTPConnection(self._address)
        while (began := time.perf_counter()) < until:
            path, body, headers = self._request()
            headers["Authorization"] = f"Bearer {self._key}"
            connection.request("POST", path, body, headers)
            response = connection.getresponse()
            answer = response.read()
            if response.status == 200 and response.headers[DIGEST_HEADER] == digest(answer):
                self.times.append(time.perf_counter() - began)
                self._check(answer)
            else:
                self.errors += 1

    def _request(self) -> tuple[str, bytes, dict[str, str]]:
        """Path, body and headers of the next request."""
        raise NotImplementedError

    def _check(self, answer: bytes) -> None:
        """Compare an answer with what is expected."""


class _ScoresClient(_Client):
    """Asks for the scores of one random context at a time."""

    def __init__(self, given: Sequence[_Given], url: str, key: str, number: int) -> None:
        super().__init__(url, key, number)
        names, images = given[number]
        vlm = RemoteVLM(url, api_key=key)
        self._box = vlm.classifier(names)
        (id,) = vlm.images(images).ids
        self._path = paths.SCORES.format(id=self._box.id) + f"?images={id}"

    def _request(self) -> tuple[str, bytes, dict[str, str]]:
        body = encode_array(_moved(self._box.initial_context, self._rng))
        headers = {
            "Content-Type": "application/octet-stream",
            IDEMPOTENCY_HEADER: str(self._rng.integers(2**62)),
            DIGEST_HEADER: digest(body),
        }
        return self._path, body, headers


class _ClassifyClient(_Client):
    """Asks for the class of one image file at a time."""

    def __init__(
        self, files: Sequence[bytes], expected: pd.DataFrame, url: str, key: str, number: int
    ) -> None:
        super().__init__(url, key, number)
        self._files, self._expected = files, expected
        self._place = 0
        self.found = {"difference": 0.0}

    def _request(self) -> tuple[str, bytes, dict[str, str]]:
        self._place = int(self._rng.integers(len(self._files)))
        return paths.CLASSIFY, self._files[self._place], {"Content-Type": "image/jpeg"}

    def _check(self, answer: bytes) -> None:
        probabilities = pd.Series(json.loads(answer)["probabilities"])
        difference = (probabilities - self._expected.iloc[self._place]).abs().max()
        self.found["difference"] = max(self.found["difference"], float(difference))


def measure_load(
    models: Sequence[str] = MODELS,
    *,
    clients: int = _CLIENTS,
    classes: Sequence[int] = (2, 10),
    seconds: float = _SECONDS,
) -> Rows:
    """Measure one-context requests of concurrent clients.

    Clients share one task, or each has its own class names and images. The images are digits. The
    rows also have model, tasks, classes, and bound: the model's speed-up from answering all
    clients' requests in one call, in one process without a server (an upper bound on the gain).
    """
    for model, tasks, n_classes in product(models, ("one", "own"), classes):
        given = list(_tasks(tasks, n_classes, clients))
        about = {"model": model, "tasks": tasks, "classes": n_classes}
        with random_weights(model) as weights:
            bound = _bound(load_vlm(model, weights), given)
            open_client = partial(_ScoresClient, given)
            for row in _under_load(open_client, _options(model, weights), clients, seconds):
                yield about | row | {"bound": bound}


def measure_classify(
    models: Sequence[str] = MODELS, *, clients: int = _CLIENTS, seconds: float = _SECONDS
) -> Rows:
    """Measure requests of concurrent clients to an adapter, one image file each.

    The images are JPEG files of 500×375 pixels, the adapter is one of digits. The rows also have
    model, difference (the largest from the probabilities of ``Adapter.predict``), and alone (images
    a second of the opened adapter in one process without a server).
    """
    for model in models:
        with random_weights(model) as weights, tempfile.TemporaryDirectory() as name:
            vlm, file = load_vlm(model, weights), Path(name) / "digits.adapter"
            task = few_shot(load_dataset("digits"), shots=1, seed=1)
            # A context for each class, a refiner and anchors; which prompt is found does not change
            # the cost.
            adapter = tune(vlm, task, method="craft-anchors", budget=30).adapter
            adapter.save(file)
            images = write_photographs(Path(name) / "images", KINDS["500x375"], 64)
            expected = pd.DataFrame(adapter.predict(vlm, images), columns=list(adapter.classnames))
            files = [path.read_bytes() for path in images]
            alone = fastest(partial(_classify, DeployedAdapter(adapter, vlm), vlm, images))
            open_client = partial(_ClassifyClient, files, expected)
            options = ["--adapter", str(file), *_options(model, weights)]
            for row in _under_load(open_client, options, clients, seconds):
                yield {"model": model} | row | {"alone": len(images) / alone}


def _classify(adapter: DeployedAdapter, vlm: VLM, images: Sequence[Path]) -> None:
    adapter.predict(vlm.images(images, keep=False))


def _under_load(
    open_client: Callable[[str, str, int], _Client],
    options: Sequence[str],
    clients: int,
    seconds: float,
) -> Rows:
    """Measure each client of a server, one by one and in batches, in alternation.

    ``open_client`` creates a client from the address, its key and its number; ``options`` are those
    of ``craft-zoo serve``. Each turn takes ``seconds``.
    """
    for turn, max_batch in product(range(_TURNS), _BATCHES):
        with served(clients, options=["--max-batch", str(max_batch), *options]) as (url, keys):
            asking = [open_client(url, key, number) for number, key in enumerate(keys)]
            until = time.perf_counter() + seconds
            with ThreadPoolExecutor(clients) as threads:
                for done in [threads.submit(client.ask, until) for client in asking]:
                    done.result()
        for number, client in enumerate(asking):
            p50, p99 = np.percentile(client.times, [50, 99]) * 1000
            which = {"max_batch": max_batch, "turn": turn, "client": number}
            counts = {"requests": len(client.times), "errors": client.errors}
            yield {**which, **counts, "p50": p50, "p99": p99, "seconds": seconds, **client.found}


def _options(model: str, weights: str | None) -> list[str]:
    return ["--model", model, *(["--pretrained", weights] if weights else [])]


def _tasks(tasks: str, n_classes: int, clients: int) -> Iterator[_Given]:
    """Yield class names and images of each client."""
    digits = load_dataset("digits")
    rng = np.random.default_rng(0)
    for client in range(clients):
        task = few_shot(digits, shots=4, seed=client if tasks == "own" else 0)
        images = task.train.of_classes(list(range(n_classes))).images
        names: Sequence[str] = task.classnames[:n_classes]
        if tasks == "own":
            names = [str(word) for word in rng.choice(word_list(), n_classes, replace=False)]
        yield names, images


@contextmanager
def random_weights(model: str) -> Iterator[str | None]:
    """Yield a file of random weights, which don't change the cost; None for craft-mini."""
    if model == mini.NAME:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.pt"
        torch.manual_seed(0)
        with quiet():
            torch.save(open_clip.create_model(model).state_dict(), path)
        yield str(path)


def _bound(vlm: VLM, tasks: Sequence[_Given]) -> float:
    """Speed-up of the model from answering all requests in one call."""
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


def _moved(start: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random context near ``start``, (1, n_ctx, dim) float32."""
    return (start + 0.1 * rng.standard_normal(start.shape))[None].astype(np.float32)


def load_table(measured: pd.DataFrame) -> pd.DataFrame:
    """Throughput, latency and Jain's fairness index of each setting and ``max_batch``.

    ``times`` is the throughput relative to that without batching.
    """
    setting = [column for column in _SETTING if column in measured]
    more = [column for column in ("bound", "alone", "difference") if column in measured]
    by = [*setting, "max_batch"]
    how: dict[str, Any] = {"requests": "sum", "errors": "sum", "p50": "median", "p99": "max"}
    table = measured.groupby(by, sort=False).agg(how | dict.fromkeys(more, "max"))
    requests = table.pop("requests")
    table["per_second"] = requests / (measured["seconds"].iloc[0] * measured["turn"].nunique())
    table["times"] = table["per_second"] / table.groupby(setting)["per_second"].transform("first")
    table["fairness"] = pd.Series(
        {
            which: min(fairness(turn["requests"]) for _, turn in some.groupby("turn"))
            for which, some in measured.groupby(by)
        }
    )
    return table


def fairness(requests: pd.Series) -> float:
    """Jain's fairness index of the clients' requests, from 1 / n (one has all) to 1 (all equal)."""
    counts = requests.to_numpy(dtype=float)
    return float(np.sum(counts) ** 2 / (len(counts) * np.sum(np.square(counts))))
