"""Wrapped pycma behaves as bare pycma with its defaults."""

from __future__ import annotations

from typing import Any

import cma
import numpy as np
import pytest
from cma.restricted_gaussian_sampler import GaussVkDSampler

from craft_zoo.optimizers import create


@pytest.mark.parametrize("dim", [8, 512])  # pycma's default step-size rule depends on it
@pytest.mark.parametrize(
    ("spec", "options"),
    [
        ("cma", {}),
        ("cma:active=false", {"CMA_active": False}),
        ("cma:diagonal=true", {"CMA_diagonal": True}),
        ("cma:bound=0.5", {"bounds": [-0.5, 0.5]}),
        ("sep-cma", {"CMA_diagonal": True}),
        ("vkd-cma", GaussVkDSampler.extend_cma_options()),
    ],
)
def test_options_left_alone_are_the_librarys(spec: str, options: dict[str, Any], dim: int) -> None:
    rng = np.random.default_rng(3)

    def normal(*shape: int) -> Any:
        return rng.standard_normal(shape if shape else None)

    settings = {"popsize": 40, "seed": np.nan, "randn": normal, "verbose": -9} | options
    if "CMA_sampler" in options:
        settings["CMA_sampler_options"] = {"randn": normal}
    bare = cma.CMAEvolutionStrategy(np.zeros(dim), 1.0, settings)
    ours = create(spec, dim, budget=600, seed=3)
    while not ours.stop:
        expected, candidates = np.array(bare.ask()), ours.ask()
        assert np.array_equal(candidates, expected)
        losses = ((candidates - 0.7) ** 2 * np.linspace(1, 9, dim)).sum(axis=1)
        bare.tell(list(expected), losses)
        ours.tell(candidates, losses)
    assert np.array_equal(ours.recommend(), bare.result.xfavorite)


def test_one_variable_may_have_bounds_narrower_than_the_steps() -> None:
    optimizer = create("cma:bound=0.5,popsize=8", 1, budget=200, seed=1)
    while not optimizer.stop:
        candidates = optimizer.ask()
        optimizer.tell(candidates, (candidates[:, 0] - 0.2) ** 2)
    assert optimizer.recommend() == pytest.approx([0.2], abs=0.01)


@pytest.mark.filterwarnings("error")
def test_generations_that_failed_raise_no_warning() -> None:
    optimizer = create("cma:popsize=4", 1, budget=120, seed=1)
    told = 0
    while not optimizer.stop:
        candidates = optimizer.ask()
        failed = told % 16 == 0
        optimizer.tell(candidates, [np.nan if failed else float(z[0] ** 2) for z in candidates])
        told += len(candidates)
