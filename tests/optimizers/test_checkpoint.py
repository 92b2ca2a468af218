"""Continuing a search from its state."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from craft_zoo.optimizers import CMA, Optimizer, OptimizerError, Space, create, register, restore
from craft_zoo.optimizers.auto import Auto
from craft_zoo.optimizers.testing import Subject, classification


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
@pytest.mark.parametrize("spec", ["cma:popsize=6", "nelder-mead", "spsa"])
def test_candidates_that_workers_had_are_asked_for_again(spec: str) -> None:
    """Of a search with eight workers, continued without them."""
    optimizer = create(spec, 3, budget=60, seed=1)
    running: list[np.ndarray] = []
    for _ in range(40):
        running.extend(optimizer.ask(8 - len(running)))
        done = running.pop(0)
        optimizer.tell(done, (done**2).sum())
    restored = restore(optimizer.state())
    while not restored.stop:
        candidates = restored.ask()
        restored.tell(candidates, (candidates**2).sum(axis=1))
    assert restored.evaluations == 60


def test_equal_candidates_are_told_apart_when_a_search_is_restored() -> None:
    optimizer = create("spsa:bound=1", 1, budget=60, seed=31)  # ends at the bound
    rng = np.random.default_rng(31)
    running: list[np.ndarray] = []
    for _ in range(60):
        running.extend(optimizer.ask(4 - len(running)) if len(running) < 4 else [])
        point = running.pop(rng.integers(len(running)))
        optimizer.tell(point, -point[0])
        restored = restore(optimizer.state())
        assert np.array_equal(restored.recommend(), optimizer.recommend())
    assert optimizer.stop == restored.stop == "the budget of 60 is spent"


def test_outputs_are_replayed_to_who_learns_from_them() -> None:
    @register("logits-learner")
    class Learner(Optimizer):
        """An optimizer whose steps depend on the outputs.

        It represents optimizers that learn from logits.
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


RNG = (
    '"rng": {"bit_generator": "PCG64", "state": {"state": %d, '
    '"inc": 194290289479364712180083596243593368443}, "has_uint32": %d, "uinteger": %d}'
)
# States as they were written before Space, with the next candidates of the same searches.
OLD: dict[str, tuple[Space, dict[str, object], list[list[float]]]] = {
    "genetic": (
        Space(2, choices=[4, 5]),
        {
            "about": '{"spec": "genetic:popsize=2", "options": {}, "dim": 2, "budget": 20, '
            '"seed": 1, "checksum": 1388216525, "choices": [4, 5]}',
            "generations": [2],
            "losses": [0.0, 3.0],
        },
        [[1, 2], [1, 0]],
    ),
    "snes": (
        Space(2),
        {
            "about": '{"spec": "snes:popsize=2", "options": {}, "dim": 2, "budget": 20, '
            '"seed": 1, "checksum": 3488171173, "choices": null}',
            "generations": [2],
            "losses": [1.1672023355659444, -0.9727201554209738],
        },
        [[0.8965726274823994, -0.5522119294878534], [-0.5438093491612132, -0.39820924261247026]],
    ),
    "logit-gn": (
        Space(2, blocks=2),
        {
            "about": '{"spec": "logit-gn:popsize=2,memory=3", "options": {}, "dim": 2, '
            '"budget": 20, "seed": 1, "checksum": 0, "choices": null, "evaluations": 4}',
            "logit_gn": '{"radius": 0.2, "rejected": 0, "looked": false, "blocks": 2, '
            f'"shape": [1, 2], "evaluated": true, '
            f"{RNG % (132289089894194688499898990827882008816, 0, 4082210491)}}}",
            "center": [0.4000000059604645, -0.4000000059604645],
            "center_outputs": [[-0.6000000238418579], [0.6000000238418579]],
            "points": [
                [[0.20000000298023224], [-0.20000000298023224]],
                [[0.4000000059604645], [-0.4000000059604645]],
                [[0.6000000238418579], [-0.20000000298023224]],
            ],
            "outputs": [
                [[0.19999998807907104], [-0.19999998807907104]],
                [[0.3999999761581421], [-0.3999999761581421]],
                [[0.6000000238418579], [-0.19999998807907104]],
            ],
            "origin": [[-1.0], [1.0]],
        },
        [[0.6000000089406967, -0.6000000089406967], [0.800000011920929, -0.4000000059604645]],
    ),
    "columns": (
        Space(2, blocks=2, choices=[4, 5]),
        {
            "about": '{"spec": "columns:popsize=2", "options": {}, "dim": 2, "budget": 20, '
            '"seed": 1, "checksum": 0, "choices": [4, 5], "evaluations": 4}',
            "columns_about": '{"shape": [1, 2], "blocks": 2, "evaluated": true, '
            '"assembled": null, "tried": '
            '[["0000000000000000", "0100000000000000", "0300000000000000"], '
            '["0000000000000000", "0200000000000000", "0400000000000000"]], '
            f"{RNG % (288514794402043327389427592626368753378, 1, 873833604)}}}",
            "deployed": [1.0, 2.0],
            "deployed_outputs": [[-1.0], [0.0]],
            "pool_choices": [[[0], [1], [3], [3]], [[0], [2], [4], [4]]],
            "pool_columns": [[[-2.0], [-1.0], [1.0], [1.0]], [[-2.0], [0.0], [2.0], [2.0]]],
        },
        [[2, 3], [2, 1]],
    ),
    "columns, before its first ask": (
        Space(2, blocks=2, choices=[4, 5]),
        {
            "about": '{"spec": "columns:popsize=2", "options": {}, "dim": 2, "budget": 20, '
            '"seed": 1, "checksum": 0, "choices": [4, 5], "evaluations": 0}',
            "columns_about": '{"shape": [], "blocks": 2, "evaluated": false, '
            '"assembled": null, "tried": [], '
            f"{RNG % (207833532711051698738587646355624148094, 0, 0)}}}",
            "deployed": [0.0, 0.0],
            "deployed_outputs": [],
            "pool_choices": np.zeros((1, 0, 2), dtype=np.int64),
            "pool_columns": np.zeros((1, 0, 0), dtype=np.float32),
        },
        [[0, 0], [1, 2]],
    ),
}


@pytest.mark.parametrize("name", OLD)
def test_a_state_from_before_spaces_is_continued(name: str) -> None:
    space, state, expected = OLD[name]
    single = ("points", "outputs", "origin")
    kinds = {key: np.float32 if key in single else None for key in state}
    optimizer = restore({key: np.array(value, dtype=kinds[key]) for key, value in state.items()})
    optimizer.output_loss = lambda outputs: (float(np.square(outputs).sum()) / 2, outputs)
    assert optimizer.space == space
    again = restore(optimizer.state())
    again.output_loss = optimizer.output_loss
    assert again.space == space
    candidates = optimizer.ask()
    np.testing.assert_allclose(candidates, expected, rtol=1e-6)
    assert np.array_equal(again.ask(), candidates)
    optimizer.tell(candidates, candidates.sum(axis=1), [each[None] for each in candidates])


@pytest.mark.parametrize("spec", ["logit-gn", "columns", "cma", "auto:outputs=true"])
def test_failures_after_a_restore_count_as_before_it(spec: str) -> None:
    subject = Subject(spec)
    first = subject.make()
    subject.run(first, subject.decoded(classification(first.dim)), evaluations=30)
    second = restore(first.state())
    assert second._failed_loss() == first._failed_loss()
    if isinstance(first, Auto) and isinstance(second, Auto):
        assert second._inner._failed_loss() == first._inner._failed_loss()


@pytest.mark.parametrize("spec", ["logit-gn", "columns", "auto:outputs=true"])
def test_an_incomplete_generation_is_restored_before_output_loss_is_known(spec: str) -> None:
    subject = Subject(spec)
    first = subject.make(budget=40)
    evaluate = subject.decoded(classification(first.dim))
    subject.run(first, evaluate, evaluations=20)
    candidates = first.ask()
    (loss, *_), (output, *_) = evaluate(candidates)
    first.tell(candidates[0], loss, output)
    second, third = restore(first.state()), restore(restore(first.state()).state())
    second.output_loss = third.output_loss = first.output_loss
    second.tell(candidates[1], *(each[1] for each in evaluate(candidates)))
    with pytest.raises(OptimizerError, match="between ask and tell"):
        third.extend(1)
    third.tell(third.ask()[0], *(each[1] for each in evaluate(candidates)))
    first.tell(candidates[1], *(each[1] for each in evaluate(candidates)))
    expected = subject.run(first, evaluate)
    assert first.evaluations == 40
    for restored in (second, third):
        assert np.array_equal(subject.run(restored, evaluate), expected)
        assert restored.evaluations == 40
