"""ZIP: each of its parts computed by hand, and the costs of its queries."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np
import pytest

from craft_zoo.blackbox import as_template
from craft_zoo.data import Task
from craft_zoo.methods import Problem, get_method, read_settings
from craft_zoo.methods.batches import batches
from craft_zoo.methods.zip import Fastfood, LowRankTokens, hadamard
from craft_zoo.openclip import OpenCLIP
from craft_zoo.optimizers.zip_spsa import ZipSPSA


def test_two_steps_by_hand(deltas: Callable[..., Any]) -> None:
    search = ZipSPSA(2, pairs=1, budget=4, seed=1)
    search.rng = deltas([[0.5, -1]], [[1, 0.5]])
    candidates = search.ask()  # at a distance of 0.01
    np.testing.assert_allclose(candidates, [[0.005, -0.01], [-0.005, 0.01]])
    # A slope of 0.2 / 0.02 gives the gradient (20, -10), of a norm of 22.36: clipped to √2 it is
    # (1.26491, -0.632456), and the gain is 0.01 / 2^0.4 = 0.00757858.
    search.tell(candidates, [1.2, 1.0])
    np.testing.assert_allclose(search.recommend(), [-0.00958623, 0.00479311], rtol=1e-5)
    # The distance is 0.01 / 2^0.1 = 0.00933033. A slope of 0.1 gives (0.1, 0.2), which is not
    # clipped; the gain is 0.01 / 3^0.4 = 0.00644394.
    candidates = search.ask()
    np.testing.assert_allclose(
        candidates[0], [-0.00958623 + 0.00933033, 0.00479311 + 0.00466517], rtol=1e-4
    )
    search.tell(candidates, [1.00186607, 1.0])
    np.testing.assert_allclose(search.recommend(), [-0.01023062, 0.00350432], rtol=1e-5)
    assert search.stop


def test_a_gradient_is_the_mean_of_its_pairs(deltas: Callable[..., Any]) -> None:
    search = ZipSPSA(2, pairs=2, budget=4, seed=1)
    search.rng = deltas([[0.5, -1], [1, 1]])
    # (0.2, -0.1) and (0, 0), times a gain of 0.00757858
    search.tell(search.ask(), [1.002, 1.0, 3.0, 3.0])
    np.testing.assert_allclose(search.recommend(), [-0.000757858, 0.000378929], rtol=1e-5)


def test_directions_are_away_from_zero() -> None:
    search = ZipSPSA(1000, budget=10, seed=1)
    candidates = search.ask()
    assert candidates.shape == (10, 1000)
    sizes = np.abs(candidates) / 0.01
    assert 0.5 <= sizes.min() < 0.51
    assert 0.99 < sizes.max() <= 1
    assert abs(np.sign(candidates[::2]).mean()) < 0.05
    np.testing.assert_array_equal(candidates[::2], -candidates[1::2])


def test_a_projection_by_hand() -> None:
    assert hadamard(np.array([1.0, 2, 3, 4])).tolist() == [10, -2, -4, 0]
    project = Fastfood(4, np.random.default_rng(0))
    project._signs = np.array([1.0, -1, 1, 1])
    project._order = np.array([2, 0, 3, 1])
    project._gauss = np.array([1, 2, 0.5, -1])  # of a sum of squares of 6.25
    project._divisor = 5.0  # √(4 · 6.25)
    # (1, -2, 0, 0) → (-1, 3, -1, 3) → (-1, -1, 3, 3) → (-1, -2, 1.5, -3) → (-4.5, 5.5, -1.5, -3.5)
    np.testing.assert_allclose(project(np.array([1.0, 2])), [-0.9, 1.1, -0.3, -0.7])
    own = Fastfood(6, np.random.default_rng(0))
    gauss = own._gauss
    assert own._divisor == pytest.approx(np.sqrt(8 * (gauss**2).sum() * 6 / 8))
    assert sorted(own._order) == list(range(8))
    assert own(np.ones(3)).shape == (6,)


def test_a_low_rank_context_by_hand() -> None:
    space = LowRankTokens((2, 4), seed=1, dim=4, rank=1)
    space._projections = [lambda row: np.append(row, [0, 0])] * 2  # type: ignore[list-item, return-value]
    space.start = np.ones((2, 4), np.float32)
    u, s, v, shared = [2, 3], [0.5], [1, -1], [10, 20]
    change = np.array([*u, *s, *v, *shared]) - space.initial
    # 2 · 0.5 · (1, -1) + (10, 20), and 3 · 0.5 · (1, -1) + (10, 20), to ones
    expected = [[12, 20, 1, 1], [12.5, 19.5, 1, 1]]
    np.testing.assert_allclose(space.prompts(change[None]), [expected])
    np.testing.assert_array_equal(space.prompts(np.zeros((1, 7))), [space.start])


def test_its_size_is_that_of_the_paper() -> None:
    space = LowRankTokens((8, 512), seed=1)
    assert space.variables.dim == 417
    assert 0.019 < space.start.std() < 0.021
    ones = space.initial[40:45]
    assert not space.initial[:40].any()
    assert not space.initial[-62:].any()
    assert (ones == 1).all()
    # tokens have projections of their own
    moved = space.prompts(np.eye(417)[-1:])[0] - space.start
    assert not np.allclose(moved[0], moved[1])


def test_batches_drop_what_is_left_of_an_epoch() -> None:
    found = list(islice(batches(5, 2, np.random.default_rng(0)), 40))
    assert all(len(set(batch.tolist())) == 2 for batch in found)
    for first, second in zip(found[::2], found[1::2], strict=True):
        assert len({*first.tolist(), *second.tolist()}) == 4  # of one epoch
    assert {row for batch in found for row in batch.tolist()} == set(range(5))
    assert sorted(next(batches(3, 5, np.random.default_rng(0)))) == [0, 1, 2]


def open_problem(vlm: OpenCLIP, task: Task, budget: int, **settings: object) -> Problem:
    config = read_settings({f"zip.{name}": value for name, value in settings.items()})
    return Problem.open(
        vlm, task.classnames, task.train, budget=budget, seed=1, config=config, method="zip"
    )


def test_a_query_is_one_context_on_one_batch(tiny_vlm: OpenCLIP, small_task: Task) -> None:
    problem = open_problem(tiny_vlm, small_task, 25, batch=8)
    steps = list(get_method("zip")(problem))
    assert [step.queries for step in steps] == [0, 10, 20, 25]
    assert problem.meter.predictions == {"search": 25 * 8}
    assert problem.template == as_template("X X X X X X X X")
    assert np.shape(steps[-1].solution.prompt) == (8, problem.initial_context.shape[1])
    assert not np.array_equal(steps[0].solution.prompt, steps[-1].solution.prompt)
