"""SharpZO: its gradient, sharpness term, mask and descent computed by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from craft_zoo import optimizers
from craft_zoo.data import LabelledImages, Task
from craft_zoo.data.augment import View
from craft_zoo.methods import Problem, get_method, read_settings
from craft_zoo.methods.released import TABLE, ReleasedSettings
from craft_zoo.methods.sharpzo import Descent, Mask, coordinatewise, movable, uphill
from craft_zoo.openclip import OpenCLIP
from craft_zoo.seeding import generator


def losses(points: np.ndarray) -> np.ndarray:
    return points[:, 0] ** 2 + 3 * points[:, 1]


def test_a_gradient_by_hand() -> None:
    # (8.25 - 6.25) / 1 and (8.5 - 5.5) / 1
    assert coordinatewise(losses, np.array([1.0, 2.0]), 0.5).tolist() == [2, 3]


def test_candidates_move_uphill() -> None:
    # 0.1 / 2 along (0.6, 0.8)
    np.testing.assert_allclose(uphill(np.array([3.0, 4.0]), 0.1, 4), [0.03, 0.04])
    assert not uphill(np.zeros(2), 0.1, 4).any()


@pytest.mark.parametrize(
    ("mask", "expected"), [("highest", [0, 0, 1, 1]), ("lowest", [1, 1, 0, 0])]
)
def test_a_mask_by_hand(mask: Mask, expected: list[int]) -> None:
    # Sizes 1, 1, 3, 3 are -1, -1, 1, 1 standardised; times the squares: -1, -4, 9, 1.
    point, gradient = np.array([1.0, 2, 3, 1]), np.array([1.0, -1, 3, -3])
    assert movable(point, gradient, 0.5, mask).tolist() == expected
    assert movable(point, gradient, 0.3, "lowest").tolist() == [False, True, False, False]


class Scripted:
    """Draws the directions (1, -1) and (2, 0)."""

    def __init__(self) -> None:
        self.directions = [np.array([1.0, -1.0]), np.array([2.0, 0.0])]

    def standard_normal(self, size: int) -> np.ndarray:
        assert size == 2
        return self.directions.pop(0)


def descent(copies: int | None = None, gradient: Sequence[float] = (0, 0)) -> Descent:
    start = np.array([1.0, 2.0]), np.array(gradient, dtype=float)
    return Descent(*start, Scripted(), distance=0.5, lr=0.1, copies=copies)  # type: ignore[arg-type]


def test_two_steps_by_hand() -> None:
    search = descent()
    # The losses at (1.5, 1.5) and (0.5, 2.5) are 6.75 and 7.75: the estimate is (-1, 1).
    search.step(losses)
    np.testing.assert_allclose(search.point, [1.1, 1.9])
    # Those at (2.1, 1.9) and (0.1, 1.9) are 10.11 and 5.71: (8.8, 0).
    search.step(losses)
    np.testing.assert_allclose(search.point, [0.22, 1.9])


def test_a_step_moves_only_the_coordinates_of_the_mask() -> None:
    search = descent()
    search.restrict(np.array([True, False]), np.zeros(2))
    search.step(losses)  # 8.25 at (1.5, 2) and 6.25 at (0.5, 2)
    np.testing.assert_allclose(search.point, [0.8, 2])


def test_two_summed_steps_by_hand() -> None:
    search = descent(copies=4, gradient=(1, 1))
    search.step(losses)  # along (1, 1) + (-1, 1)
    np.testing.assert_allclose(search.point, [1, 1.8])
    # The mean of four directions is half as long: 7.65 at (1.5, 1.8) and 5.65 at (0.5, 1.8).
    search.step(losses)  # along (0, 2) + (2, 0)
    np.testing.assert_allclose(search.point, [0.8, 1.6])


def test_a_generation_computed_by_hand(
    by_hand: Callable[..., Any], script: Callable[[float], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TABLE, "by hand", ReleasedSettings(std=1))
    slope = float(generator(5, "subspace").standard_normal())
    search = script(slope)
    monkeypatch.setattr(optimizers, "create", lambda *_, **__: search)
    vlm = by_hand(1, 1)
    shots = LabelledImages(list(np.zeros((2, 12, 10, 3), np.uint8)), np.array([0, 1]))
    config = read_settings(
        {
            "sharpzo.dim": 1,
            "sharpzo.popsize": 2,
            "sharpzo.rho": float(np.sqrt(2) / abs(slope)),  # a move of 1 in the context
        }
    )
    problem = Problem.open(vlm, ("a", "b"), shots, budget=4, seed=5, config=config, name="by hand")
    [step] = get_method("sharpzo")(problem)
    # The loss falls as the context grows, so the contexts 1 and 2 are scored at 0 and 1: ln 2 and
    # ln(1 + 1/e).
    np.testing.assert_allclose(search.told, [0.693147, 0.313262], atol=1e-5)
    np.testing.assert_allclose(step.solution.prompt, [[2.0]])
    assert step.queries == 4  # two for the gradient, two for the candidates
    assert step.loss == pytest.approx(0.313262, abs=1e-5)
    # all on one augmented view
    views = vlm.box.asked[0][1]
    assert all(sources is views for _, sources in vlm.box.asked)
    assert all(isinstance(each, View) for each in views)


SMALL = {"dim": 5, "popsize": 4, "generations": 2, "interval": 3}


def problem_of(vlm: OpenCLIP, task: Task, budget: int, **settings: Any) -> Problem:
    given = {f"sharpzo.{name}": value for name, value in (SMALL | settings).items()}
    return Problem.open(
        vlm, task.classnames, task.train, budget=budget, seed=1, config=read_settings(given)
    )


def test_the_parts_share_the_budget(tiny_vlm: OpenCLIP, small_task: Task) -> None:
    problem = problem_of(tiny_vlm, small_task, 100)
    steps = list(get_method("sharpzo")(problem))
    # 2 generations of 10 + 4, then 10 and 3 steps of 2 four times; 8 are too few for a gradient
    assert [step.queries for step in steps] == [14, 28, 28 + 4 * 16]
    assert problem.meter.predictions == {"search": 92 * 20}
    assert np.isfinite(steps[-1].loss)
    problem = problem_of(tiny_vlm, small_task, 100, mask="none")
    *_, end = get_method("sharpzo")(problem)
    assert end.queries == 100
