"""Work distributed to threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import torch

from craft_zoo.threads import in_threads


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_results_come_in_order_from_threads_that_compute_on_one_core() -> None:
    def work(number: int) -> tuple[int, int, str]:
        time.sleep(0.01 * (number % 3))
        return number, torch.get_num_threads(), threading.current_thread().name

    results = list(in_threads(work, range(20)))
    assert [number for number, _, _ in results] == list(range(20))
    assert {threads for _, threads, _ in results} == {1}
    assert len({name for _, _, name in results}) == 3
    assert torch.get_num_threads() == 3


def test_items_are_taken_only_a_little_ahead() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    results = in_threads(lambda number: number, items(), ahead=4)
    next(results)
    assert len(taken) == 4
    next(results)
    assert len(taken) == 5


def test_an_error_comes_through_and_the_rest_is_left() -> None:
    done: list[int] = []

    def work(number: int) -> int:
        if number == 2:
            raise ValueError("number 2")
        done.append(number)
        return number

    with pytest.raises(ValueError, match="number 2"):
        list(in_threads(work, range(100)))
    assert len(done) < 12
