"""Hugging Face's task API of ``craft-zoo serve``: killed and failing runs pay once."""

from __future__ import annotations

import runpy
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from craft_zoo.blackbox import Journal, ReplayVLM
from craft_zoo.client import HuggingFaceVLM, RemoteVLM, Retrying
from craft_zoo.data import Task
from craft_zoo.openclip import OpenCLIP

pytest.importorskip("fastapi")

NAMES = ["one", "two", "three"]


class Died(BaseException):
    """Simulates that the process is killed."""


class Losing(httpx.BaseTransport):
    """Transport that raises in place of the responses with the given numbers.

    Attributes:
        asked: number of requests.
    """

    def __init__(self, error: Callable[[], BaseException], *numbers: int) -> None:
        self._error, self._numbers, self._inner = error, numbers, httpx.HTTPTransport()
        self.asked = 0
        self._lock = threading.Lock()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = self._inner.handle_request(request)
        with self._lock:
            self.asked += 1
            number = self.asked
        if number in self._numbers:
            response.read()
            raise self._error()
        return response


@pytest.fixture
def served(vlm: OpenCLIP, tmp_path: Path) -> Iterator[Any]:
    module = runpy.run_path(str(Path(__file__).parent / "real_server.py"))
    with module["RealServer"](vlm, tmp_path / "state") as running:
        yield running


def ask(
    served: Any, transport: Losing, task: Task, journal: Journal, *, concurrency: int = 2
) -> np.ndarray:
    vlm = HuggingFaceVLM(
        f"{served.url}/hf/zero-shot-image-classification",
        token=served.key,
        concurrency=concurrency,
        retrying=Retrying(attempts=3, sleep=lambda _: None),
        transport=transport,
    )
    recorded = ReplayVLM(vlm, journal)
    return recorded.classifier(NAMES).score("{}", recorded.images(task.train.images))


def test_killed_it_is_billed_once(served: Any, small_task: Task, tmp_path: Path) -> None:
    for place in (3, 11):  # one that is lost with what was answered beside it, and a later one
        with Journal(tmp_path / "journal") as journal, pytest.raises(Died):
            ask(served, Losing(Died, place), small_task, journal)
        served.restart()
    with Journal(tmp_path / "journal") as journal:
        transport = Losing(Died)
        answers = ask(served, transport, small_task, journal)
    assert transport.asked < len(small_task.train)  # the first part came from the journal
    assert RemoteVLM(served.url, api_key=served.key).usage().predictions == len(small_task.train)
    with Journal(tmp_path / "whole") as journal:
        again = ask(served, Losing(Died), small_task, journal)
    np.testing.assert_allclose(again, answers, atol=1e-5)


def test_killed_within_a_query_it_sends_no_answered_image_again(
    served: Any, small_task: Task, tmp_path: Path
) -> None:
    asked = 0
    for place in (3, 2, 0):  # answers that are lost; other endpoints bill them again
        transport = Losing(Died, place)
        with Journal(tmp_path / "journal") as journal, suppress(Died):
            answers = ask(served, transport, small_task, journal, concurrency=1)
        asked += transport.asked
    assert asked == len(small_task.train) + 2
    with Journal(tmp_path / "whole") as journal:
        again = ask(served, Losing(Died), small_task, journal)
    np.testing.assert_allclose(again, answers, atol=1e-5)


def test_a_lost_answer_is_billed_once(served: Any, small_task: Task, tmp_path: Path) -> None:
    def slow() -> Exception:
        return httpx.ReadTimeout("slow")

    with Journal(tmp_path / "journal") as journal:
        transport = Losing(slow, 2, 3, 9)
        ask(served, transport, small_task, journal)
    assert transport.asked == len(small_task.train) + 3
    assert RemoteVLM(served.url, api_key=served.key).usage().predictions == len(small_task.train)
