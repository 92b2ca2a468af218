"""CBBT: its gradient, its rate and two steps computed by hand, and what its queries cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from craft_zoo.blackbox import as_template
from craft_zoo.data import LabelledImages, Task
from craft_zoo.data.augment import View
from craft_zoo.methods import Problem, batches, cbbt, get_method, read_settings
from craft_zoo.methods.cbbt import clipped, directions, gradient, learning_rate
from craft_zoo.openclip import OpenCLIP


def test_directions_are_of_one_length() -> None:
    found = directions(300, (2, 5), np.random.default_rng(0))
    assert found.shape == (300, 2, 5)
    np.testing.assert_allclose(np.linalg.norm(found.reshape(300, 10), axis=1), 0.1)
    long = directions(2, (40, 100), np.random.default_rng(0)).reshape(2, 4000)
    np.testing.assert_allclose(np.linalg.norm(long, axis=1), 0.001)


def test_a_gradient_by_hand() -> None:
    # d = 2, so e = 1/2: slopes of (3 - 1) / 0.5 = 4 along (1, 0) and (2 - 1) / 0.5 = 2 along
    # (0, -1); their mean is (2, -1), times 1 / e.
    moves = np.array([[[0.5, 0]], [[0, -0.5]]])
    np.testing.assert_allclose(gradient(moves, np.array([1.0, 3, 2])), [[4, -2]])
    np.testing.assert_allclose(clipped(np.array([[6.0, 8]])), [[3, 4]], rtol=1e-6)
    np.testing.assert_allclose(clipped(np.array([[0.6, 0.8]])), [[0.6, 0.8]])


def test_rates_by_hand() -> None:
    rates = [learning_rate(epoch, 4, 0.002) for epoch in range(4)]
    np.testing.assert_allclose(rates, [1e-5, 0.002, 0.001 * (1 + 0.5**0.5), 0.001])


class Scripted:
    """Draws the directions of two steps."""

    def __init__(self) -> None:
        self.drawn = [np.array([[3.0, 0], [0, -2]]), np.array([[-1.0, 0], [0, 5]])]

    def standard_normal(self, shape: tuple[int, int]) -> np.ndarray:
        assert shape == (2, 2)
        return self.drawn.pop(0)


def test_two_steps_by_hand(by_hand: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    made = {"cbbt": Scripted()}
    original = cbbt.generator
    # Both images in their order, so that image and logits have the same place.
    made["cbbt batches"] = type("Ordered", (), {"permutation": lambda _, n: np.arange(n)})()
    for module in (cbbt, batches):
        monkeypatch.setattr(
            module, "generator", lambda seed, purpose: made.get(purpose) or original(seed, purpose)
        )
    config = read_settings({"cbbt.directions": 2, "cbbt.lr": 0.1})
    shots = LabelledImages(list(np.zeros((2, 12, 10, 3), np.uint8)), np.array([0, 1]))
    given: dict[str, Any] = {"budget": 6, "seed": 1, "config": config, "method": "cbbt"}
    vlm = by_hand(1, 2)
    start, one, two = get_method("cbbt")(Problem.open(vlm, ("a", "b"), shots, **given))
    assert vlm.init == "a {}."
    assert all(isinstance(each, View) for _, sources in vlm.box.asked for each in sources)
    assert not np.any(start.solution.prompt)
    # Losses of 0.693147 at 0 and 0.474077 at 0.5: the gradient is -0.438140, and Adam moves by the
    # rate of the first epoch.
    np.testing.assert_allclose(one.solution.prompt, [[1e-5, 0]], atol=1e-9)
    # 0.693142 and, at -0.49999, 0.974071: along -1 a slope of 0.561858. Adam's means of the two
    # gradients are -0.503255 and, of their squares, 0.253856: a move of 0.998835 times 0.1.
    np.testing.assert_allclose(two.solution.prompt, [[0.0998935, 0]], atol=1e-6)
    assert (one.queries, two.queries) == (3, 6)
    assert one.loss == pytest.approx(0.693147)


def problem_of(vlm: OpenCLIP, task: Task, budget: int, **settings: Any) -> Problem:
    config = read_settings({f"cbbt.{name}": value for name, value in settings.items()})
    return Problem.open(
        vlm, task.classnames, task.train, budget=budget, seed=1, config=config, method="cbbt"
    )


def test_a_query_is_one_context_on_one_batch(tiny_vlm: OpenCLIP, small_task: Task) -> None:
    problem = problem_of(tiny_vlm, small_task, 20, directions=5, batch=8)
    steps = list(get_method("cbbt")(problem))
    assert [step.queries for step in steps] == [0, 6, 12, 18]  # whole steps
    assert problem.meter.predictions == {"search": 18 * 8}
    assert problem.template == as_template("a")
    assert np.shape(steps[-1].solution.prompt) == (1, problem.initial_context.shape[1])
