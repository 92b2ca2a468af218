"""Continue a search from its state."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from craft_zoo.optimizers import CMA, Optimizer, OptimizerError, create, register, restore


def advance(optimizer: Optimizer, generations: int) -> list[np.ndarray]:
    asked = []
    for _ in range(generations):
        asked.append(optimizer.ask())
        losses = ((asked[-1] - 0.7) ** 2).sum(axis=1)
        losses[0] = np.nan
        optimizer.tell(asked[-1], losses)
    return asked


@pytest.mark.parametrize("spec", ["cma:restarts=bipop,popsize=6", "spsa", "nevergrad:PSO"])
def test_through_a_file_without_pickle(spec: str, tmp_path: Path) -> None:
    optimizer = create(spec, 4, budget=400, seed=3, bound=2.0)
    advance(optimizer, 7)
    np.savez(tmp_path / "search.npz", **optimizer.state())
    with np.load(tmp_path / "search.npz", allow_pickle=False) as state:
        other = restore(state)
    assert (other.evaluations, other.budget) == (optimizer.evaluations, 400)
    assert np.array_equal(other.recommend(), optimizer.recommend())
    for first, second in zip(advance(optimizer, 5), advance(other, 5), strict=True):
        assert np.array_equal(first, second)


@pytest.mark.usefixtures("registered")
def test_outputs_are_replayed_to_who_learns_from_them() -> None:
    @register("logits-learner")
    class Learner(Optimizer):
        """Goes where the outputs say.

        This one stands for those that feed on logits.
        """

        learns_from_outputs = True

        def __init__(self, dim: int, *, budget: int, seed: int) -> None:
            super().__init__(dim, budget=budget, seed=seed)
            self.z = np.zeros(dim)

        def _ask(self) -> np.ndarray:
            return self.z + self.rng.standard_normal((2, self.dim))

        def _tell(self, candidates, losses, outputs) -> None:
            self.z = self.z + outputs[0].mean()

        def recommend(self) -> np.ndarray:
            return self.z.copy()

    optimizer = create("logits-learner", 3, budget=20, seed=1)
    for _ in range(3):
        candidates = optimizer.ask()
        optimizer.tell(candidates, [1.0, 2.0], [candidates[:1], candidates[1:]])
    assert np.array_equal(restore(optimizer.state()).ask(), optimizer.ask())


def test_another_search_is_noticed() -> None:
    optimizer = create("snes", 4, budget=400, seed=3)
    advance(optimizer, 3)
    state = optimizer.state()
    state["losses"] = state["losses"][::-1].copy()
    with pytest.raises(OptimizerError, match="'snes' now asks for other candidates"):
        restore(state)


@pytest.mark.parametrize("damage", ["no about", "no losses", "short", "inf", "not json"])
def test_a_damaged_state_is_explained(damage: str) -> None:
    optimizer = create("snes", 4, budget=400, seed=3)
    advance(optimizer, 2)
    state = optimizer.state()
    if damage.startswith("no "):
        del state[damage.removeprefix("no ")]
    elif damage == "short":
        state["losses"] = state["losses"][:-1]
    elif damage == "inf":
        state["losses"][3] = np.inf
    else:
        state["about"] = np.array("{")
    with pytest.raises(OptimizerError, match=r"state cannot be read .*start a new search"):
        restore(state)


def test_only_what_create_has_made_has_a_state() -> None:
    with pytest.raises(OptimizerError, match="made by create"):
        CMA(3, budget=50, seed=1).state()
