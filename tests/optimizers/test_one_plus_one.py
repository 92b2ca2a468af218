"""one-plus-one, the (1+1) evolution strategy for rounded variables."""

from __future__ import annotations

import numpy as np
import pytest

from craft_zoo.optimizers import OptimizerError, Space, create


def test_steps_grow_on_a_plateau_until_a_whole_number_changes() -> None:
    """With steps of 0.1 and plateaus 5 wide, nothing but growing reaches the third one."""
    optimizer = create("one-plus-one:sigma=0.1", 1, budget=200, seed=1)
    while not optimizer.stop:
        z = optimizer.ask()
        optimizer.tell(z, [abs(round(float(z[0, 0]) / 5) - 3)])
    assert optimizer.best.loss == 0


def test_a_choice_gets_another_value_as_a_whole() -> None:
    optimizer = create("one-plus-one", Space(5, groups=[1, 4]), budget=60, seed=1)
    seen, kept = set(), 0
    while not optimizer.stop:
        z = optimizer.ask()
        scores = z[0, 1:]
        if scores.any():
            assert sorted(scores) == [-1, -1, -1, 1]
            seen.add(int(scores.argmax()))
        kept += not scores.any()
        optimizer.tell(z, [0.0 if scores.argmax() == 2 and scores.any() else 1.0])
    assert 2 in seen
    assert kept >= 1  # the start
    assert optimizer.recommend()[1:].argmax() == 2


@pytest.mark.parametrize("groups", [[2, 2], [3, 1, 1, 1], [0, 5]])
def test_groups_that_do_not_fit_are_refused(groups: list[int]) -> None:
    with pytest.raises(OptimizerError, match="groups"):
        Space(5, groups=groups)


def test_a_search_does_not_lose_the_numbers_beside_a_choice() -> None:
    optimizer = create("one-plus-one", Space(6, groups=[1, 1, 4]), budget=300, seed=3)
    while not optimizer.stop:
        z = optimizer.ask()
        far = (z[0, :2] - [1.0, -2.0]) ** 2
        optimizer.tell(z, [far.sum() + (np.argmax(z[0, 2:]) != 3)])
    assert optimizer.best.loss < 1e-3
