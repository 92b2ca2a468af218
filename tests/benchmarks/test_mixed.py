"""The benchmark of functions of whole numbers, choices and real variables."""

from __future__ import annotations

import numpy as np
import pytest

from craft_zoo.benchmarks.mixed import CHOSEN_ON, FUNCTIONS, TPE, losses, main, problem
from craft_zoo.optimizers import minimize


@pytest.mark.parametrize("name", CHOSEN_ON + FUNCTIONS)
def test_a_function_is_decided_by_its_instance_and_not_below_0(name: str) -> None:
    space, f = problem(name, 1)
    found = minimize(f, space=space, budget=60, seed=1, optimizer="random:popsize=10")
    again, other = problem(name, 1)[1], problem(name, 2)[1]
    assert 0 <= found.loss == again(found.x) != other(found.x)


def test_tpe_and_auto_are_in_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--function", "binary", "--budget", "12", "--instances", "2", "--optimizer", TPE]
    main(arguments)
    rows = capsys.readouterr().out.strip().splitlines()
    assert [row.split("|")[1].strip() for row in rows[2:]] == ["`auto`", f"`{TPE}`"]


def test_a_search_that_ends_early_keeps_its_best() -> None:
    space, f = problem("choices", 1)
    found = losses("genetic", space[:2], lambda x: f([*x, 0, 0, 0, 0.5, 0.5, 0.5]), 30, 1)
    assert len(found) == 30
    assert np.all(found[16:] == found.min())
