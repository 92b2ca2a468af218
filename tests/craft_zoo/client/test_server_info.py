"""Both sides of the wire together, over a network that harms."""

from __future__ import annotations

import copy
import runpy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from craft_zoo import tune
from craft_zoo.blackbox import Journal, ReplayVLM
from craft_zoo.client import HuggingFaceVLM, RemoteVLM, Retrying
from craft_zoo.craft import CraftConfig
from craft_zoo.data import Task
from craft_zoo.openclip import OpenCLIP
from craft_zoo.tuning import Tuned

pytest.importorskip("fastapi")

BUDGET = 60
Connect = Callable[..., RemoteVLM]


@pytest.fixture(scope="module")
def small_requests(vlm: OpenCLIP) -> OpenCLIP:
    """Likes to be asked about few contexts at once, so that there are many requests."""
    model = copy.copy(vlm)
    model.in_flight = 4
    return model


@pytest.fixture
def limits() -> dict[str, int]:
    """Of what ``served`` takes."""
    return {}


@pytest.fixture
def served(small_requests: OpenCLIP, tmp_path: Path, limits: dict[str, int]) -> Iterator[Any]:
    module = runpy.run_path(str(Path(__file__).parent / "real_server.py"))
    with module["RealServer"](small_requests, tmp_path / "state", **limits) as running:
        yield running


@pytest.fixture
def ask(served: Any, time: Any) -> Connect:
    """Opens the model of ``served``."""

    def open_remote(**settings: Any) -> RemoteVLM:
        return RemoteVLM(
            settings.pop("url", served.url),
            **{"api_key": served.key, "retrying": time.retrying(), "timeout": 20.0, **settings},
        )

    return open_remote


def run(vlm: Any, task: Task) -> Tuned:
    config = CraftConfig(patience=0, discriminant=False)  # the faster one to choose
    return tune(vlm, task, method="craft", budget=BUDGET, config=config)


def content(tuned: Tuned, folder: Path) -> bytes:
    """All of the adapter but the server's address."""
    tuned.adapter.model = "server"
    tuned.adapter.save(folder / "adapter")
    return (folder / "adapter").read_bytes()


def asked(tuned: Tuned) -> int:
    return sum(tuned.meter.predictions.values())


@pytest.mark.filterwarnings("ignore:.*billed:UserWarning")  # the header's number was hit
@pytest.mark.parametrize("seed", [4, 9])
def test_a_harmed_run_is_the_local_one_and_is_billed_once(
    seed: int,
    served: Any,
    ask: Connect,
    small_requests: OpenCLIP,
    faulty_proxy: Any,
    small_task: Task,
    tmp_path: Path,
) -> None:
    with Journal(tmp_path / "journal") as journal:
        local = run(ReplayVLM(small_requests, journal), small_task)
    with faulty_proxy(
        served.port, seed=seed, delay=1.5, restart=served.restart, restarts=0.1
    ) as proxy:
        remote = ask(url=proxy.url, timeout=1.0)
        tuned = run(remote, small_task)
        done = proxy.done
    assert content(tuned, tmp_path) == content(local, tmp_path)
    usage = ask().usage()
    assert usage.predictions == asked(tuned) == asked(local) == remote.cost_limit.predictions
    assert done["restart"] > 0
    assert sum(done.values()) - done["exchanges"] - done["restart"] > 3


def test_killed_on_both_sides_it_pays_nothing_twice(
    served: Any, ask: Connect, small_task: Task, tmp_path: Path, mortal: Any
) -> None:
    whole = run(ask(), small_task)
    paid = ask().usage()
    for life in (3, 1, 4):
        with Journal(tmp_path / "journal") as journal, pytest.raises(mortal.Died):
            run(ReplayVLM(ask(transport=mortal(life)), journal), small_task)
        served.restart()
    with Journal(tmp_path / "journal") as journal:
        tuned = run(ReplayVLM(ask(), journal), small_task)
    assert content(tuned, tmp_path) == content(whole, tmp_path)
    usage = ask().usage()
    assert usage.predictions == 2 * paid.predictions == asked(whole) + asked(tuned)
    assert usage.requests == 2 * paid.requests


@pytest.mark.parametrize("limits", [{"images": 8, "image_sets": 2, "answer_bytes": 4 * 5 * 3 * 2}])
def test_a_set_that_is_too_large_comes_in_parts(
    served: Any, ask: Connect, small_requests: OpenCLIP, small_task: Task
) -> None:
    """More of them than the server keeps, and with every answer too large at first."""
    names, sources = ["one", "two", "three", "four", "five"], small_task.train.images
    remote = ask()
    box, images = remote.classifier(names), remote.images(sources)
    mine, handed = small_requests.classifier(names), small_requests.images(sources)
    contexts = np.stack([mine.initial_context, 1.1 * mine.initial_context])
    asked: list[Any] = [contexts, ["a photo of the number {}."]]
    for prompts in asked:
        answers = list(box.logits(prompts, images))
        served.restart()
        answers += box.logits(prompts, images)
        expected = list(mine.logits(prompts, handed))
        np.testing.assert_allclose(answers, 2 * expected, rtol=1e-6, atol=1e-5)
    assert remote.usage().predictions == remote.cost_limit.predictions == 2 * 3 * 20


def test_the_task_api_is_the_same_model(
    served: Any, ask: Connect, small_requests: OpenCLIP, small_task: Task, time: Any
) -> None:
    names, sources = ["one", "two", "three"], small_task.train.images[:3]
    url = f"hf-api:{served.url}/hf/zero-shot-image-classification"
    model = HuggingFaceVLM(url, token=served.key, retrying=Retrying(attempts=3))
    box = model.classifier(names)
    templates = ["a photo of the number {}.", ("{}", "a {}", "the {}")]
    answers = np.stack(list(box.logits(templates, model.images(sources))))
    mine = small_requests.classifier(names)
    logits = np.stack(list(mine.logits(templates, small_requests.images(sources))))
    expected = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    np.testing.assert_allclose(answers, expected, atol=1e-3)
    assert ask().usage().predictions == model.cost_limit.predictions == 2 * 3
