"""Faulty networks and killed runs, with a fake and the real server: nothing is paid twice."""

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

BUDGET = 60
Connect = Callable[..., RemoteVLM]


@pytest.fixture(scope="module")
def small_requests(vlm: OpenCLIP) -> OpenCLIP:
    """A model that prefers few contexts at once, so that a run makes many requests."""
    model = copy.copy(vlm)
    model.in_flight = 4
    return model


@pytest.fixture
def limits() -> dict[str, int]:
    """Limits of ``served``."""
    return {}


@pytest.fixture
def served(small_requests: OpenCLIP, tmp_path: Path, limits: dict[str, int]) -> Iterator[Any]:
    """A running ``craft-zoo serve``."""
    pytest.importorskip("fastapi")
    module = runpy.run_path(str(Path(__file__).parent / "real_server.py"))
    with module["RealServer"](small_requests, tmp_path / "state", **limits) as running:
        yield running


@pytest.fixture
def ask(served: Any, time: Any) -> Connect:
    """Opens the model of ``served``; ``connect`` opens that of the fake server."""

    def open_remote(**settings: Any) -> RemoteVLM:
        return RemoteVLM(
            settings.pop("url", served.url),
            **{"api_key": served.key, "retrying": time.retrying(), "timeout": 20.0, **settings},
        )

    return open_remote


def run(vlm: Any, task: Task, **more: Any) -> Tuned:
    config = CraftConfig(patience=0, discriminant=False)  # fast to fit
    return tune(vlm, task, method="craft", budget=BUDGET, config=config, **more)


def content(tuned: Tuned, folder: Path) -> bytes:
    """The adapter's file, without the server's address and description."""
    tuned.adapter.model, tuned.adapter.served = "server", {}
    tuned.adapter.save(folder / "adapter")
    return (folder / "adapter").read_bytes()


def asked(tuned: Tuned) -> int:
    return sum(tuned.meter.predictions.values())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*billed:UserWarning")  # the header's number was hit
@pytest.mark.parametrize("seed", [1, 2])
def test_a_network_that_harms_changes_nothing(
    seed: int,
    server: Any,
    connect: Connect,
    faulty_proxy: Any,
    time: Any,
    small_task: Task,
    tmp_path: Path,
) -> None:
    server.in_flight = 4
    expected = content(run(connect(), small_task), tmp_path)
    paid = server.predictions
    server.ledger.clear()
    server.keys.clear()
    with faulty_proxy(
        server.port, seed=seed, delay=1.5, restart=server.restart, restarts=0.1
    ) as proxy:
        remote = connect(url=proxy.url, timeout=1.0)
        tuned = run(remote, small_task)
        done = proxy.done
    assert content(tuned, tmp_path) == expected
    assert server.predictions == asked(tuned) == remote.cost_limit.predictions == paid
    # Each key stands for one question: it was billed once, however often it came.
    sent = server.times_sent()
    assert len(sent) == len(server.ledger)
    assert max(sent.values()) > 1
    assert done["restart"] > 0
    assert sum(done.values()) - done["exchanges"] - done["restart"] > 3


@pytest.mark.parametrize(
    "fault",
    [
        *("drop before", "drop after", "truncate", "corrupt answer", "corrupt request"),
        *("duplicate", "late"),
    ],
)
def test_each_kind_of_harm(
    fault: str, server: Any, connect: Connect, faulty_proxy: Any, small_task: Task
) -> None:
    """Half of all exchanges, none of them twice on the bill."""
    direct = connect()
    box, images = direct.classifier(["a", "b"]), direct.images(small_task.train.images[:5])
    expected = box.score("{}", images)
    with faulty_proxy(server.port, share=0.5, seed=3, faults=[fault]) as proxy:
        remote = connect(url=proxy.url)
        box, images = remote.classifier(["a", "b"]), remote.images(small_task.train.images[:5])
        for _ in range(8):
            np.testing.assert_array_equal(box.score("{}", images), expected)
        assert proxy.done[fault] > 2
    assert server.predictions == (1 + 8) * 5


@pytest.mark.slow
@pytest.mark.parametrize("in_flight", [None, 10])
def test_a_killed_run_pays_nothing_twice(
    in_flight: int | None,
    server: Any,
    connect: Connect,
    small_task: Task,
    tmp_path: Path,
    mortal: Any,
) -> None:
    server.in_flight = 4
    with Journal(tmp_path / "other") as journal:
        recorded = ReplayVLM(connect(), journal, in_flight)
        expected = content(run(recorded, small_task), tmp_path)
    paid = server.predictions
    server.ledger.clear()
    for life in (3, 1, 4):
        with Journal(tmp_path / "journal") as journal, pytest.raises(mortal.Died):
            run(ReplayVLM(connect(transport=mortal(life)), journal, in_flight), small_task)
        server.restart()
    with Journal(tmp_path / "journal") as journal:
        assert journal.replaying
        tuned = run(ReplayVLM(connect(), journal, in_flight), small_task)
    assert content(tuned, tmp_path) == expected
    assert server.predictions == asked(tuned) == paid


def test_an_interrupted_run_pays_nothing_twice(
    server: Any, connect: Connect, small_task: Task, tmp_path: Path
) -> None:
    """As by Ctrl-C between two steps."""
    steps = 0

    def interrupt(_: Any) -> None:
        nonlocal steps
        steps += 1
        if steps == 2:
            raise KeyboardInterrupt

    server.in_flight = 4
    with Journal(tmp_path / "journal") as journal, pytest.raises(KeyboardInterrupt):
        run(ReplayVLM(connect(), journal), small_task, callbacks=[interrupt])
    assert server.predictions > 0
    with Journal(tmp_path / "journal") as journal:
        tuned = run(ReplayVLM(connect(), journal), small_task)
    assert server.predictions == asked(tuned)


def test_what_a_journal_answers_leaves_no_name_behind(
    server: Any, connect: Connect, small_task: Task, tmp_path: Path
) -> None:
    """A query outside the journal has its own idempotency key, even if its content is equal."""
    for _ in range(2):
        remote = connect()
        with Journal(tmp_path / "journal") as journal:
            recorded = ReplayVLM(remote, journal)
            images = recorded.images(small_task.train.images[:5])
            recorded.classifier(["a", "b"]).score("{}", images)
        remote.classifier(["a", "b"]).score("{}", remote.images(small_task.train.images[:5]))
    assert server.predictions == 5 + 2 * 5


def test_a_model_that_bills_nothing_has_no_session(
    vlm: Any, small_task: Task, tmp_path: Path
) -> None:
    with Journal(tmp_path / "journal") as journal:
        recorded = ReplayVLM(vlm, journal)
        images = recorded.images(small_task.train.images[:5])
        recorded.classifier(["a", "b"]).score("{}", images)
    assert b"session" not in (tmp_path / "journal").read_bytes()


@pytest.mark.filterwarnings("ignore:.*billed:UserWarning")  # the header's number was hit
@pytest.mark.parametrize("seed", [4, pytest.param(9, marks=pytest.mark.slow)])
def test_a_faulty_network_to_the_real_server_changes_nothing(
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
    # A short timeout would be up at random where the machine is busy.
    with faulty_proxy(served.port, seed=seed, restart=served.restart, restarts=0.1) as proxy:
        remote = ask(url=proxy.url)
        tuned = run(remote, small_task)
        done = proxy.done
    assert content(tuned, tmp_path) == content(local, tmp_path)
    usage = ask().usage()
    assert usage.predictions == asked(tuned) == asked(local) == remote.cost_limit.predictions
    assert done["restart"] > 0
    assert sum(done.values()) - done["exchanges"] - done["restart"] > 3


@pytest.mark.slow
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
    """There are more parts than the server keeps, and the first responses are too large."""
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
