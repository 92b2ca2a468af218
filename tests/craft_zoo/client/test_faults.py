"""Runs over a network that harms, and killed ones: the same result, nothing paid twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from craft_zoo import tune
from craft_zoo.blackbox import Journal, ReplayVLM
from craft_zoo.client import RemoteVLM
from craft_zoo.craft import CraftConfig
from craft_zoo.data import Task
from craft_zoo.tuning import Tuned

BUDGET = 60
Connect = Callable[..., RemoteVLM]


def run(vlm: Any, task: Task, **more: Any) -> Tuned:
    config = CraftConfig(patience=0, discriminant=False)  # the faster one to choose
    return tune(vlm, task, method="craft", budget=BUDGET, config=config, **more)


def content(tuned: Tuned, folder: Path) -> bytes:
    """All of the adapter but the server's address."""
    tuned.adapter.model = "server"
    tuned.adapter.save(folder / "adapter")
    return (folder / "adapter").read_bytes()


def asked(tuned: Tuned) -> int:
    return sum(tuned.meter.predictions.values())


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
    ["drop before", "drop after", "truncate", "corrupt answer", "corrupt request", "duplicate"],
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
    """A question beside the journal is another question, though it is the same in words."""
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
