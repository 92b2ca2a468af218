"""Search spaces that optimizers get at construction."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from craft_zoo.optimizers import Optimizer, OptimizerError, Outputs, Space, create, register


def test_a_space_holds_plain_numbers() -> None:
    space = Space(np.int64(6), blocks=np.array(3), choices=np.full(6, 4, dtype=np.uint8))
    assert space == Space(6, blocks=3, choices=[4] * 6)
    assert hash(space) == hash(Space(6, blocks=3, choices=(4,) * 6))
    assert Space(**json.loads(json.dumps(asdict(space)))) == space


def test_a_number_is_short_for_a_space() -> None:
    assert Space.of(3) == Space.of(Space(3)) == Space(3, blocks=1, choices=None)


@pytest.mark.parametrize(
    ("dim", "more", "message"),
    [
        (0, {}, "dim must be a whole number, at least 1, not 0"),
        (2.0, {}, "dim must be a whole number"),
        (True, {}, "dim must be a whole number"),
        ("cma", {}, "dim must be a whole number, at least 1, not 'cma'"),
        (4, {"blocks": 0}, "blocks must be a whole number, at least 1, not 0"),
        (4, {"blocks": 2.0}, "blocks must be a whole number"),
        (4, {"blocks": 3}, "4 variables do not come in 3 equal blocks: make dim a multiple"),
        (3, {"choices": [2, 2]}, r"choices of shape \(2,\) do not fit 3 dimensions: give one"),
        (3, {"choices": np.ones((3, 1), int)}, r"choices of shape \(3, 1\) do not fit"),
        (3, {"choices": 2}, r"choices of shape \(\) do not fit"),
        (3, {"choices": [2, 0, 2]}, r"choices\[1\] must be a whole number, at least 1, not 0"),
        (2, {"choices": [2, 2.5]}, r"choices\[1\] must be a whole number, at least 1, not 2.5"),
        (2, {"choices": [[1, 2], [3]]}, r"choices\[0\] must be a whole number"),
    ],
)
def test_a_wrong_space_is_explained(dim: object, more: dict[str, object], message: str) -> None:
    with pytest.raises(OptimizerError, match=message):
        Space(dim, **more)


def test_an_optimizer_shows_its_space_and_does_not_change_it() -> None:
    space = Space(4, blocks=2, choices=[2, 3, 2, 3])
    optimizer = create("columns", space, budget=50, seed=1)
    assert (optimizer.space, optimizer.dim, optimizer.blocks) == (space, 4, 2)
    assert optimizer.choices.tolist() == [2, 3, 2, 3]
    assert create("cma", 4, budget=50, seed=1).choices is None
    with pytest.raises(AttributeError):
        optimizer.blocks = 1
    with pytest.raises(AttributeError):
        optimizer.choices = np.full(4, 2)
    with pytest.raises(ValueError, match="read-only"):
        optimizer.choices[0] = 5


class Random(Optimizer):
    """Draws zeros and ones; its constructor takes the number of variables."""

    uses_choices = uses_blocks = True

    def __init__(self, dim: int, *, budget: int, seed: int) -> None:
        super().__init__(dim, budget=budget, seed=seed)
        self.point = np.zeros((1, dim))[0]
        self.rate = 1 / dim

    def _ask(self) -> np.ndarray:
        return self.rng.integers(0, 2, (1, self.dim)) + self.point

    def _tell(self, candidates: np.ndarray, losses: np.ndarray, outputs: Outputs) -> None:
        pass

    def recommend(self) -> np.ndarray:
        return self.point


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("space", [6, np.int32(6), Space(6, blocks=3, choices=[9] * 6)])
def test_a_constructor_may_take_the_number_of_variables(space: Space | int) -> None:
    register("old-style")(Random)
    optimizer = create("old-style", space, budget=20, seed=1)
    assert optimizer.space == Space.of(space)
    assert type(optimizer.dim) is int
    assert optimizer.ask().shape == (1, 6)
    assert Random(6, budget=20, seed=1).space == Space(6)
